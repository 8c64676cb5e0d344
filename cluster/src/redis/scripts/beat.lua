-- ARGV: silo
local known = row(ARGV[1])
if not known then
  return { 'missing' }
end
if known.status == 3 then
  return { 'dead' }
end
return { 'taken', number(redis.call('HINCRBY', KEYS[2], ARGV[1], 1)), number(version()) }
