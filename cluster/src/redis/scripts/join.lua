-- ARGV: silo, info, superseded silo or '', shards, floor
local shards = redis.call('GET', KEYS[5])
if shards and shards ~= ARGV[4] then
  return { 'shards', shards }
end
redis.call('SET', KEYS[5], ARGV[4])
local known = row(ARGV[1])
if known then
  return { 'joined', known.join }
end
if ARGV[3] ~= '' then
  advance(ARGV[3], 3, ARGV[5])
end
local join = number(change(ARGV[5]))
put(ARGV[1], 0, join, ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], '0')
return { 'joined', join }
