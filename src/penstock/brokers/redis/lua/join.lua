-- Gives a consumer a lease on a queue.
--
-- KEYS  as in _queue.lua
-- ARGV  2 consumer   3 lease_s
call('ZADD', LEASES, now + ARGV[3], ARGV[2])
call('HSETNX', ANSWERS, 'joined', text(now))
call('EXPIRE', ANSWERS, 86400)
return 1
