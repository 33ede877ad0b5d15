-- How many jobs of a queue stand where, in a fixed number of steps.
--
-- KEYS  as in _queue.lua
-- Returns {ready, scheduled, running, failed, quarantined, enqueued, succeeded, failed in all, lost in all,
--          1 where it is paused}.
local ready = 0
for i = 18, 28 do
  ready = ready + call('LLEN', KEYS[i])
end
local totals = call('HMGET', TOTALS, 'stale', 'enqueued', 'succeeded', 'failed', 'lost', 'paused')
for i = 1, 6 do
  totals[i] = tonumber(totals[i] or '0')
end
ready = ready - totals[1]
local scheduled, dead, odd = call('ZCARD', DUE), call('ZCARD', DEAD), call('ZCARD', ODD)
-- Whatever is stored and stands nowhere else is held by a worker.
local running = call('HLEN', JOBS) - ready - scheduled - dead - odd
return {ready, scheduled, running, dead, odd, totals[2], totals[3], totals[4], totals[5], totals[6]}
