-- One step of the record of one key. Pure but for what stands before this text: `clock()`, in microseconds, and `uptime()` of the
-- server, in seconds.
--
-- The record is one value with one time to live:
--   v  its version   b  when it was begun: names this generation of it   t  when it was changed last
--   rb since when it may lack something; nil if it does not    f  whether nobody knew of one before it
--   m  members: q number of its last call, t when, k when the last one that it has heard the answer of, e end of its lease,
--      o longest time of a request,
--      h held slots by limit {bulk, interactive}, w by limit {what it wants still, its part of the use}, a its last answer (by limit l),
--      z whether some of its slots were taken for free
--   p  pauses: subject -> until
--   l  limits by kind and name; hb/hi held by all of each lane.
--      Rolling: c cooling slots, sorted {anchor, bulk, interactive, ...}, s/sb their sum and those of bulk, x how many have expired
--      (counted on from the beginning of the record, so that a later one has more), w window, n/nt quota as told and when, k heard of
--      since it may lack something.
--      Pool: u/ui used today (all, interactive), s/d begin and end of the day, v counted for the day after, too,
--      y kept from before a loss, z told of it again since.
--
-- Invariant: what is granted leaves held + cooling <= quota, and the same for all but Interactive with what is not reserved.

local VERSION = 1
local LATE = 1000000      -- what was sent before a member died may arrive so much later
local DAWN = 300000000    -- the server's day may begin so much later
local TOLD = 60           -- a lower quota is remembered for so many windows
local FAR = 5             -- future slots are granted for the next part of a window
local GRID = 256          -- beyond so many slots their times are rounded up to so many steps of a window
local SOON = 0.6          -- a part of a lease: nobody is forgotten so soon

local min, max, floor, ceil = math.min, math.max, math.floor, math.ceil
local now = clock()
local at = 0
local function word() at = at + 1; return ARGV[at] end
local function int() return tonumber(word()) end

local id, seq, last, born, join = word(), int(), int(), int(), int()
local lease, timeout, away, cut_off = int(), int(), int(), int()
local MEMBER, AGAIN, ANEW = 0, 1, 2
local DONE, REJOIN, STALE = 0, 1, 2
local NONE_KNOWN = 1      -- as `born`: the member knows no record, but others may have used the key while the store was gone
local EMPTY, PROBE = 0, 1

local raw = redis.call('GET', KEYS[1])
local S
if raw then
    local is_packed, value = pcall(cmsgpack.unpack, raw)
    if not is_packed or type(value) ~= 'table' or value.v ~= VERSION then
        return redis.error_reply('FOREIGN the value is no record, or one of another version')
    end
    S = value
end

-- The clock was set back: no time has passed, as far as anybody knows.
if S and now < S.t then
    local by = S.t - now
    S.t = now
    if S.rb then S.rb = S.rb - by end
    for subject, till in pairs(S.p) do S.p[subject] = till - by end
    for _, m in pairs(S.m) do
        m.t, m.k, m.e = m.t - by, m.k - by, m.e - by
        for _, a in ipairs(m.a) do
            if a.n >= 0 then a.n = a.n - by end
            for i = 1, #a.g, 3 do a.g[i] = a.g[i] - by end
        end
    end
    for _, l in pairs(S.l) do
        if l.c then
            for i = 1, #l.c, 3 do l.c[i] = l.c[i] - by end
            if l.nt then l.nt = l.nt - by end
        end
    end
end

-- The record lives as long as it says more than a new one would.
local function keep()
    local ends, longest = now, 0
    for _, l in pairs(S.l) do
        if l.c then
            longest = max(longest, l.w)
            if #l.c > 0 then ends = max(ends, l.c[#l.c - 2] + l.w) end
            if l.n then ends = max(ends, l.nt + TOLD * l.w) end
            if S.rb then ends = max(ends, S.rb + lease + l.w + LATE) end
        elseif l.u + l.hb + l.hi > 0 then
            ends = max(ends, l.d)
        end
    end
    if S.rb then ends = max(ends, now + lease) end
    for _, m in pairs(S.m) do
        ends = max(ends, m.e)
        for _, h in pairs(m.h) do
            if h[1] + h[2] > 0 then ends = max(ends, m.e + m.o + longest) end
        end
    end
    for _, till in pairs(S.p) do ends = max(ends, till) end
    redis.call('SET', KEYS[1], cmsgpack.pack(S), 'PX', ceil((ends - now) / 1000) + 1000)
end

-- What is kept of an answer has points of time; what is sent has times from now.
local function reply(outcome, a)
    local out = { outcome, S and S.b or 0, now, 0 }
    for subject, till in pairs(S and S.p or {}) do
        if till > now then
            out[4] = out[4] + 1
            out[#out + 1] = subject
            out[#out + 1] = till - now
        end
    end
    out[#out + 1] = #a
    for _, l in ipairs(a) do
        out[#out + 1] = #l.g / 3
        for i = 1, #l.g, 3 do
            out[#out + 1] = max(0, l.g[i] - now)
            out[#out + 1] = l.g[i + 1]
            out[#out + 1] = l.g[i + 2]
        end
        out[#out + 1] = l.n < 0 and -1 or max(0, l.n - now)
        for _, v in ipairs({ l.x, l.u, l.f, l.o, l.r }) do out[#out + 1] = v end
    end
    return out
end

-- A slot is free strictly after its window. Redis' time and ages are whole microseconds, rounded down: both together are wrong by
-- less than one.
local function release(l, anchor) return anchor + l.w + 1 end

-- Slots begin to cool.
local function cool(l, anchor, bulk, interactive)
    if bulk + interactive == 0 then return end
    if release(l, anchor) <= now then
        l.x = l.x + bulk + interactive
        return
    end
    local c, step = l.c, l.g
    -- A small quota, and yet so many: what members tell again is counted twice.
    if step == 0 and #c >= 9 * GRID then step = floor(l.w / GRID) end
    if step > 0 then anchor = ceil(anchor / step) * step end
    l.s, l.sb = l.s + bulk + interactive, l.sb + bulk
    local i = #c - 2
    while i > 0 and c[i] > anchor do i = i - 3 end
    if i > 0 and c[i] == anchor then
        c[i + 1], c[i + 2] = c[i + 1] + bulk, c[i + 2] + interactive
        return
    end
    for j = #c, i + 3, -1 do c[j + 3] = c[j] end
    c[i + 3], c[i + 4], c[i + 5] = anchor, bulk, interactive
end

-- Requests of a pool are over.
local function spend(l, anchor, bulk, interactive)
    if anchor < l.s - LATE then return end
    l.u, l.ui = l.u + bulk + interactive, l.ui + interactive
    if anchor >= l.d then l.v = l.v + bulk + interactive end
end

-- A member holds so many more or fewer slots. What it had for one lane it may have used for the other.
local function hold(l, h, bulk, interactive)
    local b, i = h[1] + bulk, h[2] + interactive
    if b < 0 then b, i = 0, max(0, i + b) end
    if i < 0 then b, i = max(0, b + i), 0 end
    l.hb, l.hi, h[1], h[2] = l.hb + b - h[1], l.hi + i - h[2], b, i
end

-- Whether the record lacks nothing any more: all that live have told what they have, and what the dead had has left the window.
local function complete()
    if not S.rb then return end
    local till = S.rb + lease
    for _, l in pairs(S.l) do till = max(till, l.w and S.rb + lease + l.w + LATE or 0) end
    if now < till then return end
    S.rb = nil
    for _, l in pairs(S.l) do l.k = nil end
end

-- Whether there may have been an outage for all, after which others are yet to come: this one says so, or somebody is silent who had
-- something to do; and nobody has been answered meanwhile. What one has heard it tells by its next call.
local function may_be_back()
    local may, since = cut_off >= 0, now - (cut_off >= 0 and cut_off or 2 * lease)
    for other, m in pairs(S.m) do
        if other ~= id and m.k > since then return false end
        for name, h in pairs(m.h) do
            local w = m.w[name]
            may = may or other ~= id and m.e < now and (h[1] + h[2] > 0 or w ~= nil and w[1] > 0)
        end
    end
    return may
end

local me = S and S.m[id]
-- It was away for so long that others may have what it had.
if me and me.z and join == MEMBER then return reply(REJOIN, {}) end
if me and seq == me.q then return reply(DONE, me.a) end
if me and seq < me.q then return reply(STALE, {}) end

if join ~= ANEW and born ~= 0 then
    if not S or S.b ~= born then return reply(REJOIN, {}) end
    if me and me.q < last or join == MEMBER and not me and away < SOON * lease then
        -- Writes have been lost, of others too: a new generation, to which all come with what they know. Of a day nobody knows all.
        for _, l in pairs(S.l) do
            if l.c then
                l.c, l.s, l.sb, l.x, l.k = {}, 0, 0, max(l.x, now), nil
            else
                spend(l, now, l.hb, l.hi)
                l.y, l.z = l.u, 0
            end
            l.hb, l.hi = 0, 0
        end
        S.b, S.rb, S.f, S.m, S.t = max(now, S.b + 1), now, nil, {}, now
        keep()
        return reply(REJOIN, {})
    end
end
-- It is not known, or not any more; or a call that was given up has been carried out. Or it was forgotten, and then an old call came
-- again: nobody hears an answer so long after the call was made.
local is_known = me and me.q == last and S.b == born and me.t <= now - away + lease
if join == MEMBER and not is_known then return reply(REJOIN, {}) end

if not S then
    S = { v = VERSION, b = max(now, born + 1), t = now, rb = now, m = {}, p = {}, l = {} }
    if born == 0 then
        -- Nobody can say whether there was a record before the server was started.
        S.rb, S.f = now - uptime() * 1000000, 1
    end
else
    complete()
    if join ~= MEMBER and born > NONE_KNOWN and S.b ~= born then
        -- There was one before it, after all.
        if S.f then S.rb, S.f = S.rb or now, nil end
    elseif join ~= MEMBER and may_be_back() then
        S.rb = now
        for _, l in pairs(S.l) do l.k = nil end
    end
end
S.t = now

-- Whoever has said nothing for the length of its lease is dead or cut off. Its requests are over by `o` after that, and count for a
-- window more; if it comes back before, it knows better.
local thaws = {}
for other, m in pairs(S.m) do
    if other ~= id and m.e < now then
        local over, is_over = m.e + m.o, true
        for name, h in pairs(m.h) do
            local l, bulk, interactive = S.l[name], h[1], h[2]
            local ready = l.c and release(l, over) or over
            if bulk + interactive > 0 and ready > now then
                is_over = false
                thaws[name] = min(thaws[name] or ready, ready)
            else
                if bulk + interactive > 0 then m.z = 1 end
                hold(l, h, -bulk, -interactive)
                if l.c then cool(l, over, bulk, interactive) else spend(l, over, bulk, interactive) end
            end
        end
        if is_over then S.m[other] = nil end
    end
end

if join ~= MEMBER then
    if me and last < me.q then
        -- It has not heard the last answer: what was lent ahead there cools on.
        for _, a in ipairs(me.a) do
            local l, h = S.l[a.l], me.h[a.l]
            for i = 1, #a.g, 3 do
                if l and l.c and h and a.g[i] > now then
                    hold(l, h, -a.g[i + 1], -a.g[i + 2])
                    cool(l, a.g[i] - l.w - 1, a.g[i + 1], a.g[i + 2])
                end
            end
        end
    end
    for name, h in pairs(me and me.h or {}) do hold(S.l[name], h, -h[1], -h[2]) end
    me = { h = {}, w = {}, t = 0 }
    S.m[id] = me
end
me.q, me.k, me.t, me.e, me.o = seq, me.t, now, now + lease, timeout
me.w = {}

for _ = 1, int() do
    local subject, length = word(), int()
    if length < 0 then
        S.p[subject] = nil
    else
        S.p[subject] = max(S.p[subject] or 0, now + length)
    end
end
for subject, till in pairs(S.p) do
    if till <= now then S.p[subject] = nil end
end

-- The part of the quota up to which this member may go, where others want some, too: all get what they want up to a level at which
-- the quota is used up. If it is not, the third result is this member's part of the rest.
local function fair(c, quota)
    local mine = c.soon + c.want_b + c.want_i
    local wanted, sum, others, count = { mine }, mine, false, 1
    for other, m in pairs(S.m) do
        local w = m.w[c.name]
        if other ~= id and w and m.e >= now then
            wanted[#wanted + 1] = w[1] + w[2]
            sum = sum + w[1] + w[2]
            if w[1] > 0 then others, count = true, count + 1 end
        end
    end
    if sum <= quota then return quota, others, floor((quota - sum) / count) end
    if not others then return quota, others, 0 end
    table.sort(wanted)
    local left = quota
    for i, w in ipairs(wanted) do
        local level = left / (#wanted - i + 1)
        if w >= level then return ceil(level), others, 0 end
        left = left - w
    end
    return quota, others, 0
end

-- Lends what is free now, as far as it is wanted: `Interactive` first. A part of the rest for those who will come.
local function lend(c, l, h, a, free, free_bulk, room, spare)
    local i = max(0, min(c.want_i, free, room))
    local b = max(0, min(c.want_b, free - i, room - i, free_bulk))
    c.want_b, c.want_i = c.want_b - b, c.want_i - i
    if c.want_b + c.want_i == 0 then
        b = b + max(0, min(spare, floor((free - b - i) * c.share), room - b - i, free_bulk - b))
    end
    if b + i > 0 then
        hold(l, h, b, i)
        a.g = { now, b, i }
    end
    return free - b - i, free_bulk - b, room - b - i
end

-- Lends what becomes free soon: the slots change owner while they cool, so that there are never more. The first ones pay for what is
-- used beyond the quota. Gives the time of the first that is not lent.
local function lend_ahead(c, l, h, a, first, free, free_bulk, room)
    local far = now + min(floor(l.w / FAR), floor(lease / 2))
    local cooling, rest, next_ready, is_shorter = l.c, {}, -1, first > 1
    local e, count = first, #cooling
    while e <= count do
        local eb, ei = cooling[e + 1], cooling[e + 2]
        local ready = release(l, cooling[e])
        if next_ready >= 0 and (ready > far or room <= 0 or c.want_b + c.want_i == 0) then break end
        free, free_bulk = free + eb + ei, free_bulk + eb
        if ready <= far then
            local i = max(0, min(c.want_i, free, room, eb + ei))
            local b = max(0, min(c.want_b, free - i, room - i, free_bulk, eb + ei - i))
            if i + b > 0 then
                is_shorter = true
                hold(l, h, b, i)
                local n = #a.g
                a.g[n + 1], a.g[n + 2], a.g[n + 3] = ready, b, i
                c.want_b, c.want_i, room = c.want_b - b, c.want_i - i, room - i - b
                free, free_bulk = free - i - b, free_bulk - b
                -- What `Bulk` has used counts as its own until it is free, whoever gets it: less than nothing may be left of the
                -- other lane.
                local of_b = min(eb, b)
                l.s, l.sb = l.s - i - b, l.sb - of_b
                eb, ei = eb - of_b, ei - (i + b - of_b)
            end
        end
        if eb > 0 or ei > 0 then
            local n = #rest
            rest[n + 1], rest[n + 2], rest[n + 3] = cooling[e], eb, ei
            if next_ready < 0 and free > 0 then next_ready = ready end
        end
        e = e + 3
    end
    if is_shorter then
        local n = #rest - e + 1
        for j = e, count do rest[n + j] = cooling[j] end
        l.c = rest
    end
    return next_ready
end

local function sooner(time, other)
    return (time < 0 or other and other < time) and other or time
end

-- Forgets the slots whose window is over; gives the place of the first that is left.
local function forget(l)
    local c, first = l.c, 1
    while c[first] and release(l, c[first]) <= now do
        local gone = c[first + 1] + c[first + 2]
        l.x, l.s, l.sb = l.x + gone, l.s - gone, l.sb - c[first + 1]
        first = first + 3
    end
    return first
end

-- The quota to keep to, and what of it is not reserved: the server may allow less than the plan.
local function allowed(c, l)
    if c.told > 0 and now - c.told_age >= (l.nt or 0) then l.n, l.nt = c.told, now - c.told_age end
    if l.n and (l.n >= c.quota or now - l.nt > TOLD * l.w) then l.n, l.nt = nil, nil end
    if not l.n then return c.quota, c.unreserved end
    return l.n, max(1, l.n - (c.quota - c.unreserved))
end

local function rolling(c, l, h, a)
    l.w, l.g = c.window, c.quota > GRID and floor(c.window / GRID) or 0
    local quota, unreserved = allowed(c, l)
    for i = 1, #c.settled, 3 do cool(l, now - c.settled[i], c.settled[i + 1], c.settled[i + 2]) end
    local first = forget(l)
    -- All that is alive has told what it has when a lease has passed.
    local has_gaps, told_by = S.rb ~= nil, S.rb and S.rb + lease or now
    if c.seen >= 0 and join == MEMBER and now >= told_by then
        -- More than all members can have in the server's window is of others.
        local foreign = min(c.seen - l.hb - l.hi - l.s - max(0, l.x - c.seen_expired), c.quota)
        if foreign > 0 and release(l, now - c.seen_age) > now then
            cool(l, now - c.seen_age, foreign, 0)
            a.f = foreign
        end
        if has_gaps then l.k = 1 end
    end
    local level, others, rest = fair(c, quota)
    local ahead = min(c.spare, rest)
    local room, spare = max(0, level - c.own), others and 0 or ahead
    local room_ahead = max(0, level - c.soon)
    if not others then room, room_ahead = min(room, c.most + spare), min(room_ahead, c.most + ahead) end
    local ends = told_by + (c.first == EMPTY and 0 or l.w + LATE)
    has_gaps = has_gaps and now < ends and not (l.k and c.first == PROBE)
    if has_gaps then
        local probe = c.first == PROBE and now >= told_by and l.hb + l.hi == 0 and 1 or 0
        -- Ahead, too, it is what the member has now that counts: what it will have is not known for every moment until then.
        room, spare = min(room, max(c.cap - c.own, probe)), 0
        room_ahead, ahead = min(room_ahead, room), 0
    end
    local free, free_bulk = quota - l.hb - l.hi - l.s, unreserved - l.hb - l.sb
    local left
    free, free_bulk, left = lend(c, l, h, a, free, free_bulk, room, spare)
    room_ahead = max(0, room_ahead - (room - left))
    -- For those who will come, too, where they would not find anything free.
    if free > 0 then ahead = 0 end
    c.want_b = c.want_b + ahead
    a.n = sooner(lend_ahead(c, l, h, a, first, free, free_bulk, room_ahead), thaws[c.name])
    c.want_b = max(0, c.want_b - ahead)
    if has_gaps then
        a.r = 1
        a.n = sooner(a.n, c.first == PROBE and now < told_by and told_by or ends)
    end
    a.x, a.u, a.o = l.x, l.hb + l.hi + l.s, others and 1 or 0
end

local function pool(c, l, h, a)
    local reset = c.reset1 > now and c.reset1 or c.reset2
    if now >= l.d and reset > now then
        -- A new day; what is held counts for it.
        l.u, l.ui, l.v, l.s, l.d, l.y = l.v, 0, 0, l.d, reset, nil
    elseif now < l.d and reset > now then
        -- Whose clock is ahead believes that it is tomorrow.
        l.d = min(l.d, reset)
    end
    for i = 1, #c.settled, 3 do
        local bulk, interactive = c.settled[i + 1], c.settled[i + 2]
        if join == ANEW and l.y then
            -- What was kept is a part of what is told again.
            local told = l.z + bulk + interactive
            local more = max(0, told - max(l.y, l.z))
            l.z, interactive = told, min(interactive, more)
            bulk = more - interactive
        end
        spend(l, now - c.settled[i], bulk, interactive)
    end
    if c.seen >= 0 and join == MEMBER and now - c.seen_age >= l.s + DAWN then
        a.f = max(0, c.seen - l.u - l.hb - l.hi)
        l.u = l.u + a.f
    end
    local others = false
    for other, m in pairs(S.m) do
        local w = m.w[c.name]
        others = others or other ~= id and m.e >= now and w and w[1] > 0
    end
    local free = now < l.d and c.quota - l.u - l.hb - l.hi or 0
    local room, spare = free, others and 0 or c.spare
    if S.rb and now < S.rb + lease then
        a.r, a.n = 1, S.rb + lease
        room, spare = min(room, max(c.cap - c.own, 0)), 0
    end
    lend(c, l, h, a, free, c.unreserved - (l.u - l.ui) - l.hb, room, spare)
    if l.u >= c.quota then a.n = l.d end
    a.x, a.u, a.o = l.hb + l.hi, l.u, others and 1 or 0
end

local answer = {}
for n = 1, int() do
    local c = { name = word(), kind = word(), quota = int(), unreserved = int() }
    c.name = c.kind .. c.name
    if c.kind == 'r' then
        c.window, c.first, c.share = int(), int(), 1 / 2
    else
        c.reset1, c.reset2, c.share = int(), int(), 1 / 16
    end
    local held_b, held_i = int(), int()
    c.own, c.soon, c.cap, c.want_b, c.want_i, c.most, c.spare = int(), int(), int(), int(), int(), int(), int()
    local returned_b, returned_i = int(), int()
    c.told, c.told_age, c.seen, c.seen_expired, c.seen_age = int(), int(), int(), int(), int()
    c.settled = {}
    local settled_b, settled_i = 0, 0
    for i = 1, 3 * int(), 3 do
        c.settled[i], c.settled[i + 1], c.settled[i + 2] = int(), int(), int()
        settled_b, settled_i = settled_b + c.settled[i + 1], settled_i + c.settled[i + 2]
    end

    local l = S.l[c.name]
    if not l then
        l = { hb = 0, hi = 0, s = 0 }
        if c.kind == 'r' then
            l.c, l.sb, l.x, l.w, l.g = {}, 0, now, c.window, 0
        else
            l.u, l.ui, l.d, l.v = 0, 0, 0, 0
        end
        S.l[c.name] = l
    end
    local h = me.h[c.name] or { 0, 0 }
    me.h[c.name] = h
    if join == MEMBER then
        hold(l, h, -settled_b - returned_b, -settled_i - returned_i)
    else
        hold(l, h, held_b - returned_b, held_i - returned_i)
    end
    local a = { l = c.name, g = {}, n = -1, x = 0, u = 0, f = 0, o = 0, r = 0 }
    if l.c then rolling(c, l, h, a) else pool(c, l, h, a) end
    local granted = 0
    for i = 1, #a.g, 3 do granted = granted + a.g[i + 1] + a.g[i + 2] end
    me.w[c.name] = { c.want_b + c.want_i, l.c and c.soon + granted or 0 }
    answer[n] = a
end
me.a = answer
-- Whoever waits and holds nothing loses nothing; he is remembered longer, because he has less reason to call.
local holds, waits = false, false
for _, h in pairs(me.h) do holds = holds or h[1] + h[2] > 0 end
for _, w in pairs(me.w) do waits = waits or w[1] > 0 end
if waits and not holds then me.e = now + 2 * lease end

complete()
keep()
return reply(DONE, answer)
