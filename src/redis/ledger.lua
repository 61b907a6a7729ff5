-- One step of the record of one key. Pure but for `clock()`, which stands before this text: microseconds, from Redis.
--
-- The record is one value with one time to live:
--   b  when it was begun: names this generation of it      t  when it was changed last
--   rb since when it may lack something; nil if it does not
--   m  members: q number of its last call, t when, e end of its lease, o longest time of a request,
--      h held slots by limit {bulk, interactive}, w by limit {what it wants still, its part of the use}, a its last answer
--   p  pauses: subject -> until
--   l  limits by name. Rolling: c cooling slots, sorted {anchor, bulk, interactive, ...}, x how many have expired,
--      hb/hi held by all, w window, n/nt quota as told and when, k heard of since it may lack something.
--      Pool: u/ui used today (all, interactive), d end of the day, hb/hi held by all.
--
-- Invariant: what is granted leaves held + cooling <= quota, and the same for all but Interactive with what is not reserved.

local LATE = 1000000      -- what was sent before a member died may arrive so much later
local TOLD = 60           -- a lower quota is remembered for so many windows
local FAR = 4             -- shares of a window after which future slots are granted: window / (FAR + 1)

local now = clock()
local at = 0
local function word() at = at + 1; return ARGV[at] end
local function int() return tonumber(word()) end
local min, max, floor, ceil = math.min, math.max, math.floor, math.ceil

local id, seq, last, born, join = word(), int(), int(), int(), int()
local lease, timeout, away = int(), int(), int()

local raw = redis.call('GET', KEYS[1])
local S = raw and cmsgpack.unpack(raw)

-- The clock was set back: no time has passed, as far as anybody knows.
if S and now < S.t then
    local by = S.t - now
    S.t = now
    if S.rb then S.rb = S.rb - by end
    for subject, till in pairs(S.p) do S.p[subject] = till - by end
    for _, m in pairs(S.m) do
        m.t, m.e, m.a.t = m.t - by, m.e - by, m.a.t - by
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

-- What is kept of an answer has points of time; what is sent has times from now.
local function reply(outcome, a)
    local out = { outcome, S and S.b or 0, now }
    local pauses = {}
    for subject, till in pairs(S and S.p or {}) do
        if till > now then
            pauses[#pauses + 1] = subject
            pauses[#pauses + 1] = till - now
        end
    end
    out[#out + 1] = #pauses / 2
    for _, v in ipairs(pauses) do out[#out + 1] = v end
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

local DONE, REJOIN, STALE = 0, 1, 2

local function add(l, anchor, bulk, interactive)
    local c = l.c
    if l.g > 0 then anchor = ceil(anchor / l.g) * l.g end
    local i = #c - 2
    while i > 0 and c[i] > anchor do i = i - 3 end
    if i > 0 and c[i] == anchor then
        c[i + 1], c[i + 2] = c[i + 1] + bulk, c[i + 2] + interactive
        return
    end
    for j = #c, i + 3, -1 do c[j + 3] = c[j] end
    c[i + 3], c[i + 4], c[i + 5] = anchor, bulk, interactive
end

-- A slot is free strictly after its window; anchors are rounded down to a microsecond, hence one more.
local function release(l, anchor) return anchor + l.w + 2 end

-- Whoever has said nothing for the length of its lease is dead, and its requests are over by `o` after that.
local function bury(m, from)
    for name, h in pairs(m.h) do
        local l = S.l[name]
        if l then
            l.hb, l.hi = l.hb - h[1], l.hi - h[2]
            if l.c then
                if h[1] + h[2] > 0 then add(l, from + m.o, h[1], h[2]) end
            else
                l.u, l.ui = l.u + h[1] + h[2], l.ui + h[2]
            end
        end
    end
end

local me = S and S.m[id]
if me and seq == me.q then return reply(DONE, me.a) end
if me and seq < me.q then return reply(STALE, {}) end

if join == 0 then
    if not S or S.b ~= born or not me then return reply(REJOIN, {}) end
    if me.q ~= last then
        -- Writes have been lost, of others too: a new generation, to which all come with what they know. Of a day nobody knows all.
        for _, m in pairs(S.m) do bury(m, m.e) end
        for _, l in pairs(S.l) do
            if l.c then l.c = {} else l.kept = 1 end
        end
        S.b, S.rb, S.m, S.t = now, now, {}, now
        redis.call('SET', KEYS[1], cmsgpack.pack(S), 'PX', redis.call('PTTL', KEYS[1]))
        return reply(REJOIN, {})
    end
elseif born ~= 0 and join == 1 and (not S or S.b ~= born) then
    return reply(REJOIN, {})
end

if not S then
    S = { b = now, t = now, m = {}, p = {}, l = {} }
    if born ~= 0 then
        S.rb = now
    else
        -- Nobody can say whether there was a record before the server was started.
        local info = redis.pcall('INFO', 'server')
        local up = type(info) == 'string' and tonumber(string.match(info, 'uptime_in_seconds:(%d+)')) or 0
        S.rb = now - up * 1000000
    end
elseif join > 0 and born ~= 0 and not S.rb then
    -- Back from an outage. If nobody else has called meanwhile it was one for all, and others may be yet to come.
    S.rb = now
    for other, m in pairs(S.m) do
        if other ~= id and m.t > now - away + lease * 0.6 then S.rb = nil end
    end
end
S.t = now

for other, m in pairs(S.m) do
    if other ~= id and m.e < now then
        bury(m, m.e)
        S.m[other] = nil
    end
end

if join > 0 then
    if me then
        for name, h in pairs(me.h) do
            local l = S.l[name]
            if l then l.hb, l.hi = l.hb - h[1], l.hi - h[2] end
        end
    end
    me = { h = {}, w = {} }
    S.m[id] = me
end
me.q, me.t, me.e, me.o = seq, now, now + lease, timeout

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
-- the quota is used up.
local function fair(name, quota, own, want)
    local wanted, sum, others = { own + want }, own + want, false
    for other, m in pairs(S.m) do
        local w = m.w[name]
        if other ~= id and w then
            wanted[#wanted + 1] = w[1] + w[2]
            sum = sum + w[1] + w[2]
            others = others or w[1] > 0
        end
    end
    if sum <= quota or not others then return quota, others end
    table.sort(wanted)
    local left = quota
    for i, w in ipairs(wanted) do
        local level = left / (#wanted - i + 1)
        if w >= level then return ceil(level), others end
        left = left - w
    end
    return quota, others
end

local function rolling(c, l)
    local a = { g = {}, n = -1, x = 0, u = 0, f = 0, o = 0, r = 0 }
    local quota, unreserved = c.quota, c.unreserved
    if l.w ~= c.window then l.w = c.window end
    l.g = quota > 256 and floor(l.w / 256) or 0
    if c.told > 0 and now - c.told_age >= (l.nt or 0) then l.n, l.nt = c.told, now - c.told_age end
    if l.n and now - l.nt > TOLD * l.w then l.n, l.nt = nil, nil end
    if l.n and l.n < quota then
        unreserved = max(1, l.n - (quota - unreserved))
        quota = l.n
    end
    local h = me.h[c.name]
    for i = 1, #c.settled, 3 do
        local b, n = c.settled[i + 1], c.settled[i + 2]
        if join == 0 then
            local hb, hi = min(b, h[1]), min(n, h[2])
            h[1], h[2], l.hb, l.hi = h[1] - hb, h[2] - hi, l.hb - hb, l.hi - hi
        end
        local anchor = now - c.settled[i]
        if release(l, anchor) > now then add(l, anchor, b, n) end
    end
    -- Forget what has cooled.
    local first, cool, cool_bulk = 1, 0, 0
    local cooling = l.c
    while cooling[first] and release(l, cooling[first]) <= now do
        l.x = l.x + cooling[first + 1] + cooling[first + 2]
        first = first + 3
    end
    if first > 1 then
        local rest = {}
        for i = first, #cooling do rest[#rest + 1] = cooling[i] end
        cooling, l.c = rest, rest
    end
    for i = 1, #cooling, 3 do
        cool = cool + cooling[i + 1] + cooling[i + 2]
        cool_bulk = cool_bulk + cooling[i + 1]
    end
    if c.seen >= 0 then
        l.k = S.rb and now >= S.rb + lease and 1 or l.k
        local most = l.hb + l.hi + cool + max(0, l.x - c.seen_expired)
        local foreign = min(c.seen - most, c.quota)
        if foreign > 0 and release(l, now - c.seen_age) > now then
            add(l, now - c.seen_age, foreign, 0)
            cool, cool_bulk, a.f = cool + foreign, cool_bulk + foreign, foreign
            cooling = l.c
        end
    end
    local want_b, want_i = c.want_b, c.want_i
    local want, granted = want_b + want_i, 0
    local level, others = fair(c.name, quota, c.own, want)
    local room = max(0, level - c.own)
    local spare = others and 0 or c.spare
    if S.rb then
        local ends = S.rb + lease + (c.first == 0 and 0 or l.w + LATE)
        if now < ends and not (l.k and c.first == 1) then
            a.r = 1
            local probe = c.first == 1 and now >= S.rb + lease and l.hb + l.hi == 0 and 1 or 0
            room = min(room, max(c.cap - c.own, probe, 0))
            spare = 0
        end
    end
    local function lend(ready, b, i)
        if b + i == 0 then return end
        h[1], h[2], l.hb, l.hi = h[1] + b, h[2] + i, l.hb + b, l.hi + i
        local n = #a.g
        a.g[n + 1], a.g[n + 2], a.g[n + 3] = ready, b, i
        room, granted = room - b - i, granted + b + i
    end
    -- What is free now.
    local free = quota - l.hb - l.hi - cool
    local free_bulk = unreserved - l.hb - cool_bulk
    local i = max(0, min(want_i, free, room))
    local b = max(0, min(want_b, free - i, room - i, free_bulk))
    local extra = 0
    if b == want_b and i == want_i then
        extra = max(0, min(spare, floor((free - b - i) / 2), room - b - i, free_bulk - b))
    end
    lend(now, b + extra, i)
    want_b, want_i, free, free_bulk = want_b - b, want_i - i, free - b - i - extra, free_bulk - b - extra
    -- What becomes free soon: the slots change owner while they cool, so that there are never more. The first ones pay for what
    -- is used beyond the quota.
    local far = now + min(floor(l.w / (FAR + 1)), floor(lease / 2))
    local kept = {}
    for e = 1, #cooling, 3 do
        local anchor, eb, ei = cooling[e], cooling[e + 1], cooling[e + 2]
        local ready = release(l, anchor)
        free, free_bulk = free + eb + ei, free_bulk + eb
        if ready <= far then
            local gi = max(0, min(want_i, free, room, eb + ei))
            local gb = max(0, min(want_b, free - gi, room - gi, free_bulk, eb + ei - gi))
            if gi + gb > 0 then
                lend(ready, gb, gi)
                want_b, want_i = want_b - gb, want_i - gi
                free, free_bulk = free - gi - gb, free_bulk - gb
                -- Of the lanes, each takes its own first.
                local from_i = min(ei, gi)
                local from_b = min(eb, gb)
                local rest = gi + gb - from_i - from_b
                if gi > from_i then from_b = from_b + rest else from_i = from_i + rest end
                eb, ei = eb - from_b, ei - from_i
                cool = cool - gi - gb
            end
        end
        if eb + ei > 0 then
            if a.n < 0 then a.n = ready end
            local n = #kept
            kept[n + 1], kept[n + 2], kept[n + 3] = anchor, eb, ei
        end
    end
    l.c = kept
    me.w[c.name] = { want_b + want_i, c.own + granted }
    a.x, a.u, a.o = l.x, l.hb + l.hi + cool, others and 1 or 0
    return a
end

local function pool(c, l)
    local a = { g = {}, n = -1, x = 0, u = 0, f = 0, o = 0, r = 0 }
    if now >= l.d then
        -- A new day; what is held counts for it.
        l.u, l.ui = 0, 0
        l.d = now < c.reset1 and c.reset1 or c.reset2
    elseif c.reset1 > now then
        -- The zone may have been changed.
        l.d = c.reset1
    end
    local h = me.h[c.name]
    for i = 1, #c.settled, 3 do
        local b, n = c.settled[i + 1], c.settled[i + 2]
        if join == 0 then
            local hb, hi = min(b, h[1]), min(n, h[2])
            h[1], h[2], l.hb, l.hi = h[1] - hb, h[2] - hi, l.hb - hb, l.hi - hi
        end
        if join < 2 or not l.kept then l.u, l.ui = l.u + b + n, l.ui + n end
    end
    if c.seen >= 0 then
        local foreign = c.seen - l.u - l.hb - l.hi
        if foreign > 0 then l.u, a.f = l.u + foreign, foreign end
    end
    local free = c.quota - l.u - l.hb - l.hi
    local free_bulk = c.unreserved - (l.u - l.ui) - l.hb
    local others = false
    for other, m in pairs(S.m) do
        local w = m.w[c.name]
        if other ~= id and w and w[1] > 0 then others = true end
    end
    local room, spare = free, others and 0 or c.spare
    if S.rb and now < S.rb + lease then
        a.r = 1
        room, spare = min(room, max(c.cap - c.own, 0)), 0
    end
    if now >= l.d then room = 0 end
    local i = max(0, min(c.want_i, free, room))
    local b = max(0, min(c.want_b, free - i, room - i, free_bulk))
    local extra = 0
    if b == c.want_b and i == c.want_i then
        extra = max(0, min(spare, floor((free - b - i) / 16), room - b - i, free_bulk - b))
    end
    if b + extra + i > 0 then
        h[1], h[2], l.hb, l.hi = h[1] + b + extra, h[2] + i, l.hb + b + extra, l.hi + i
        a.g = { now, b + extra, i }
    end
    if l.u >= c.quota then a.n = l.d end
    me.w[c.name] = { c.want_b - b + c.want_i - i, 0 }
    a.u, a.o = l.u, others and 1 or 0
    return a
end

local answer = { t = now }
for n = 1, int() do
    local c = { name = word(), kind = word(), quota = int(), unreserved = int() }
    if c.kind == 'r' then
        c.window, c.first = int(), int()
    else
        c.reset1, c.reset2 = int(), int()
    end
    local held_b, held_i = int(), int()
    c.own, c.cap, c.want_b, c.want_i, c.spare = int(), int(), int(), int(), int()
    local ret_b, ret_i = int(), int()
    c.told, c.told_age, c.seen, c.seen_expired, c.seen_age = int(), int(), int(), int(), int()
    c.settled = {}
    for i = 1, 3 * int() do c.settled[i] = int() end

    local l = S.l[c.name]
    if not l then
        l = { hb = 0, hi = 0 }
        if c.kind == 'r' then l.c, l.x, l.w, l.g = {}, 0, c.window, 0 else l.u, l.ui, l.d = 0, 0, 0 end
        S.l[c.name] = l
    end
    local h = me.h[c.name]
    if not h then
        h = { 0, 0 }
        me.h[c.name] = h
    end
    if join > 0 then
        h[1], h[2], l.hb, l.hi = held_b, held_i, l.hb + held_b, l.hi + held_i
    end
    local rb, ri = min(ret_b, h[1]), min(ret_i, h[2])
    h[1], h[2], l.hb, l.hi = h[1] - rb, h[2] - ri, l.hb - rb, l.hi - ri
    if l.c then
        answer[n] = rolling(c, l)
    else
        answer[n] = pool(c, l)
    end
end
me.a = answer

if S.rb then
    local till = S.rb + lease
    for _, l in pairs(S.l) do till = max(till, l.w and S.rb + lease + l.w + LATE or 0) end
    if now >= till then
        S.rb = nil
        for _, l in pairs(S.l) do l.k = nil end
    end
end

-- The record lives as long as it says more than a new one would.
local ends, longest = S.rb and now + lease or now, 0
for _, l in pairs(S.l) do
    if l.c then
        longest = max(longest, l.w)
        if #l.c > 0 then ends = max(ends, l.c[#l.c - 2] + l.w) end
        if l.n then ends = max(ends, l.nt + TOLD * l.w) end
        if S.rb then ends = max(ends, S.rb + lease + l.w + LATE) end
    elseif l.u > 0 then
        ends = max(ends, l.d)
    end
end
for _, m in pairs(S.m) do
    ends = max(ends, m.e)
    for _, h in pairs(m.h) do
        if h[1] + h[2] > 0 then ends = max(ends, m.e + m.o + longest) end
    end
end
for _, till in pairs(S.p) do ends = max(ends, till) end
redis.call('SET', KEYS[1], cmsgpack.pack(S), 'PX', ceil((ends - now) / 1000) + 1000)
return reply(DONE, answer)
