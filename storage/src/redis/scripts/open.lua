-- Raises the fence and reads the grain.
-- KEYS[1]: the grain. ARGV: probe, epoch, activation, retention in ms.
local fence = ARGV[2] .. ':' .. ARGV[3]
local stored = redis.call('HGET', KEYS[1], 'f')
if stored ~= fence then
  if stored then
    local epoch = tonumber(string.match(stored, '^(%d+):%x+$'))
    if not epoch then
      return {run, 'unreadable', 'fence ' .. string.sub(stored, 1, 200)}
    end
    -- Doubles: exact below 2^53.
    if tonumber(ARGV[2]) <= epoch then
      return {run, 'fenced', stored}
    end
  end
  redis.call('HSET', KEYS[1], 'f', fence)
end
local fields = redis.call('HGETALL', KEYS[1])
local stays = false
for i = 1, #fields, 2 do
  stays = stays or lasts(fields[i])
end
if not stays then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {run, 'ok', fields}
