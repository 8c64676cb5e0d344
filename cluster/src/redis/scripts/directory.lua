#!lua flags=allow-oom
-- One shard of the directory. KEYS: rows, epoch. A row is 'owner|join|activation|epoch'.
-- ARGV: what, grain, and more as said.

local function epoch_above(floor)
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  local next = math.max(last, tonumber(floor)) + 1
  redis.call('SET', KEYS[2], string.format('%.0f', next))
  return string.format('%.0f', next)
end

local what, grain = ARGV[1], ARGV[2]
local row = redis.call('HGET', KEYS[1], grain) or ''
local activation = string.match(row, '^%x+|%d+|(%x+)|%d+$') or ''

if what == 'lookup' then
  return row
elseif what == 'claim' then
  -- owner, join, activation, expected row or '', floor
  if row ~= '' and activation ~= ARGV[5] and row ~= ARGV[6] then
    return row
  end
  if activation ~= ARGV[5] then
    row = ARGV[3] .. '|' .. ARGV[4] .. '|' .. ARGV[5] .. '|' .. epoch_above(ARGV[7])
    redis.call('HSET', KEYS[1], grain, row)
  end
  return row
elseif what == 'raise' then
  -- activation, floor
  if activation == ARGV[3] then
    row = string.match(row, '^(.*|)%d+$') .. epoch_above(ARGV[4])
    redis.call('HSET', KEYS[1], grain, row)
  end
  return row
elseif what == 'release' then
  -- activation
  if activation == ARGV[3] then
    redis.call('HDEL', KEYS[1], grain)
  end
  return ''
elseif what == 'reassert' then
  -- the row, its epoch
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  if last < tonumber(ARGV[4]) then
    redis.call('SET', KEYS[2], ARGV[4])
  end
  if row == '' then
    row = ARGV[3]
    redis.call('HSET', KEYS[1], grain, row)
  end
  return row
end
return redis.error_reply('what is ' .. what)
