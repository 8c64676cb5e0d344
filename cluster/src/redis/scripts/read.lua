local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
return { number(version()), run .. ':' .. replid, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]) }
