-- ARGV: silo, '1' if its workers are late
local known = row(ARGV[1])
if not known then
  return { 'missing' }
end
if known.status == 3 then
  return { 'dead' }
end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[2], ARGV[1] .. ':busy', '1')
else
  redis.call('HDEL', KEYS[2], ARGV[1] .. ':busy')
end
return { 'taken', number(redis.call('HINCRBY', KEYS[2], ARGV[1], 1)), number(version()) }
