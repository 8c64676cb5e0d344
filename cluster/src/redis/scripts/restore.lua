-- ARGV: version, then silo, status, join, info of each row
local changed = version() < tonumber(ARGV[1])
for place = 2, #ARGV, 4 do
  local silo, status = ARGV[place], tonumber(ARGV[place + 1])
  local known = row(silo)
  if not known then
    put(silo, status, ARGV[place + 2], ARGV[place + 3])
    redis.call('HSET', KEYS[2], silo, '0')
    changed = true
  elseif known.status < status then
    put(silo, status, known.join, known.info)
    changed = true
  end
end
if changed then
  change(ARGV[1])
end
return { 'done' }
