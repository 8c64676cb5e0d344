-- ARGV: voter, target, evidence (0 refused, 1 silent, 2 partition), needed, floor, lapse, silence
local voter, target = row(ARGV[1]), row(ARGV[2])
if not voter then
  return { 'unknown voter' }
end
if voter.status == 3 then
  return { 'voter dead' }
end
if not target then
  return { 'unknown target' }
end
if target.status == 3 then
  return { 'already dead' }
end
local evidence = tonumber(ARGV[3])
local now, beat = beat_of(ARGV[1]), beat_of(ARGV[2])
local first = now
local mine = redis.call('HGET', KEYS[4], ARGV[2] .. ':' .. ARGV[1])
if mine then
  local was, since, _, at = string.match(mine, '^(%d)|(%d+)|(%d+)|(%d+)$')
  if tonumber(was) == evidence and tonumber(at) == beat then
    first = tonumber(since)
  end
end
local cast = evidence .. '|' .. number(first) .. '|' .. number(now) .. '|' .. number(beat)
redis.call('HSET', KEYS[4], ARGV[2] .. ':' .. ARGV[1], cast)

local votes = redis.call('HGETALL', KEYS[4])
local counted = 0
for place = 1, #votes, 2 do
  local against, by = string.match(votes[place], '^(%x+):(%x+)$')
  if against == ARGV[2] then
    local was, since, last, at = string.match(votes[place + 1], '^(%d)|(%d+)|(%d+)|(%d+)$')
    local whose = row(by)
    if not whose or whose.status == 3 or beat_of(by) - tonumber(last) > tonumber(ARGV[6]) then
      redis.call('HDEL', KEYS[4], votes[place])
    elseif was == '0' then
      counted = counted + 1
    elseif was == '1' then
      if tonumber(at) == beat and tonumber(last) - tonumber(since) >= tonumber(ARGV[7]) then
        counted = counted + 1
      end
    elseif evidence == 2 then
      counted = counted + 1
    end
  end
end
if counted < tonumber(ARGV[4]) then
  return { 'counted', number(counted) }
end
advance(ARGV[2], 3, ARGV[5])
return { 'killed' }
