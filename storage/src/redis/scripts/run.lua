-- Reads the run counter. KEYS[1]: the counter. ARGV: probe.
return {run, 'ok', redis.call('GET', KEYS[1]) or '0'}
