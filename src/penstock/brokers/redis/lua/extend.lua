-- Renews a consumer's lease on a queue from outside (the guard), where it still has one.
--
-- KEYS  as in _queue.lua
-- ARGV  2 consumer   3 lease_s
-- Returns 1 where it had one, also one that was over and not acted on yet.
if not call('ZSCORE', LEASES, ARGV[2]) then
  return 0
end
also_when_full()
call('ZADD', LEASES, now + ARGV[3], ARGV[2])
return 1
