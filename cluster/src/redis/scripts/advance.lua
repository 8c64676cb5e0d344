-- ARGV: silo, status, floor
advance(ARGV[1], tonumber(ARGV[2]), ARGV[3])
return { 'done' }
