#!lua flags=allow-oom
-- Begins every script of the membership. KEYS: rows, beats, version, votes, settings.
-- A row is 'status|join|info'; a vote, under 'target:voter', is 'evidence|first|last|target beat'.

local function number(value)
  return string.format('%.0f', value)
end

local function version()
  return tonumber(redis.call('GET', KEYS[3]) or '0')
end

-- The version above what it was and what the caller has seen.
local function change(floor)
  local next = math.max(version(), tonumber(floor)) + 1
  redis.call('SET', KEYS[3], number(next))
  return next
end

local function row(silo)
  local text = redis.call('HGET', KEYS[1], silo)
  if not text then
    return nil
  end
  local status, join, info = string.match(text, '^(%d)|(%d+)|(.*)$')
  return { status = tonumber(status), join = join, info = info }
end

local function beat_of(silo)
  return tonumber(redis.call('HGET', KEYS[2], silo) or '0')
end

local function put(silo, status, join, info)
  redis.call('HSET', KEYS[1], silo, status .. '|' .. join .. '|' .. info)
end

local function forget_votes(target)
  for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
    if string.sub(field, 1, #target) == target then
      redis.call('HDEL', KEYS[4], field)
    end
  end
end

local function advance(silo, status, floor)
  local known = row(silo)
  if known and known.status < status then
    put(silo, status, known.join, known.info)
    change(floor)
  end
  if status == 3 then
    forget_votes(silo)
  end
end

