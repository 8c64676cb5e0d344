-- Changes records of one grain, all or none.
-- KEYS[1]: the grain. ARGV: probe, fence, write id, retention in ms, then for each record: name, expected version, new
-- version, '1' with a body or '0' without, body. Versions are compared as text, so they are exact.
local stored = redis.call('HGET', KEYS[1], 'f')
if stored ~= ARGV[2] then
  return {run, 'fenced', stored or ''}
end
if redis.call('HGET', KEYS[1], 'w') == ARGV[3] then
  return {run, 'ok'}
end
for i = 5, #ARGV, 5 do
  local found = redis.call('HGET', KEYS[1], 'v:' .. ARGV[i]) or '0'
  if found ~= ARGV[i + 1] then
    return {run, 'conflict', ARGV[i], ARGV[i + 1], found}
  end
end
-- The first write is where a server without memory refuses; it lets a script that has written go on to its end.
redis.call('HSET', KEYS[1], 'w', ARGV[3])
local stays = false
for i = 5, #ARGV, 5 do
  redis.call('HSET', KEYS[1], 'v:' .. ARGV[i], ARGV[i + 2])
  if ARGV[i + 3] == '1' then
    redis.call('HSET', KEYS[1], 'd:' .. ARGV[i], ARGV[i + 4])
    stays = true
  else
    redis.call('HDEL', KEYS[1], 'd:' .. ARGV[i])
  end
end
if not stays then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    stays = stays or lasts(field)
  end
end
if stays then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {run, 'ok'}
