-- A heartbeat. `clock()` and `uptime()` stand before this text: microseconds and seconds, from Redis.
--
-- The record is one value with one time to live:
--   b  when it was begun      s  whether it may take the place of one that was lost
--   m  members: j since when, l its lease, e until when it counts if it says nothing

local id, lease, since, leaves = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local now = clock()

local raw = redis.call('GET', KEYS[1])
local read, S = pcall(cmsgpack.unpack, raw or '')
if not raw or not read or type(S) ~= 'table' or type(S.m) ~= 'table' then
    -- A server that was started just now may have lost one.
    S = { b = now, s = uptime() * 1000000 < 3 * lease, m = {} }
end
if S.b > now then S.b = now end

local longest = lease
for other, m in pairs(S.m) do
    if m.e < now or m.e > now + 6 * m.l then
        -- Dead, or the clock was set back.
        S.m[other] = nil
    elseif other ~= id then
        longest = math.max(longest, m.l)
    end
end

if leaves then
    S.m[id] = nil
else
    local m = S.m[id]
    if not m then
        -- Since the record has been lost, all tell when they joined; later nobody is believed who was forgotten.
        m = { j = now }
        if since > 0 and since < now and now - S.b < 2 * longest then m.j, S.s = since, true end
        S.m[id] = m
    end
    m.l, m.e = lease, now + 3 * lease
end

local count, rank, joined = 0, 0, now
if S.m[id] then joined = S.m[id].j end
for other, m in pairs(S.m) do
    count = count + 1
    if m.j < joined or m.j == joined and other < id then rank = rank + 1 end
end

redis.call('SET', KEYS[1], cmsgpack.pack(S), 'PX', math.ceil(3 * longest / 1000))
return { now, count, rank, joined, S.b, longest, S.s and 1 or 0 }
