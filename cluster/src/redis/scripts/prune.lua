-- ARGV: silo, floor
local known = row(ARGV[1])
if known and known.status == 3 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1], ARGV[1] .. ':busy')
  change(ARGV[2])
end
return { 'done' }
