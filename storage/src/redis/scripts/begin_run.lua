-- Raises the run counter above the floor. KEYS[1]: the counter. ARGV: probe, floor.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if not stored then
  return {run, 'unreadable', 'run counter'}
end
local next = string.format('%.0f', math.max(stored, tonumber(ARGV[2])) + 1)
redis.call('SET', KEYS[1], next)
return {run, 'ok', next}
