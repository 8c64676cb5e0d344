-- Begins every script.

-- Which process serves this, and since which promotion? ARGV[1] = '1' asks; costs a few microseconds.
local run = ''
if ARGV[1] == '1' then
  run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
  if run ~= '' then
    local replication = redis.call('INFO', 'replication')
    if string.find(replication, 'role:slave', 1, true) then
      run = 'replica'
    else
      run = run .. ':' .. (string.match(replication, 'master_replid:(%x+)') or '')
    end
  end
end

-- May a grain with such a field not expire? Bodies may not, nor what we do not know.
local function lasts(field)
  return field ~= 'f' and field ~= 'w' and string.sub(field, 1, 2) ~= 'v:'
end

