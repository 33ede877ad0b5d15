-- Whether a fetch would find something: asked of the queues behind the first one, whose turn may not come. The lease is
-- renewed there all the same.
--
-- KEYS  as in _queue.lua
-- ARGV  2 consumer   3 lease_s
-- Returns {1 where jobs are ready or due, seconds to the next due moment or ""}.
also_when_full()
call('ZADD', LEASES, 'XX', now + ARGV[3], ARGV[2])
if is_paused() then
  return {0, ''}
end
local next_due = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
local wait_s = next_due and math.max(0, next_due - now)
if wait_s == 0 or any_ready() then
  return {1, wait_s and text(wait_s) or ''}
end
return {0, wait_s and text(wait_s) or ''}
