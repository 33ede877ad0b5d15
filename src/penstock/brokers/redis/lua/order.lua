-- Stores an order to a worker until it is answered or expires.
--
-- KEYS  1 orders  hash   command -> "given_at expires_at verb" (this worker's)
-- ARGV  1 seconds added to the clock   2 command   3 verb   4 seconds until it expires
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000 + ARGV[1]
redis.call('HSET', KEYS[1], ARGV[2], string.format('%.6f %.6f %s', now, now + ARGV[4], ARGV[3]))
redis.call('EXPIRE', KEYS[1], math.ceil(math.max(86400, ARGV[4])))
return 1
