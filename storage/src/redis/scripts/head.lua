-- Begins every script.

-- Which process serves this? ARGV[1] = '1' asks; costs a few microseconds.
local run = ''
if ARGV[1] == '1' then
  run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
end

-- May a grain with such a field not expire? Bodies may not, nor what we do not know.
local function lasts(field)
  return field ~= 'f' and field ~= 'w' and string.sub(field, 1, 2) ~= 'v:'
end

