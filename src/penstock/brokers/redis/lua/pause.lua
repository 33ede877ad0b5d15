-- Pauses a queue, or ends its pause and wakes a consumer, which wakes the next one where it leaves jobs behind.
--
-- KEYS  as in _queue.lua
-- ARGV  2 1 to pause, 0 to go on
-- Returns 1 where that is news.
also_when_full()
if ARGV[2] == '1' then
  return call('HSETNX', TOTALS, 'paused', '1')
end
local was = call('HDEL', TOTALS, 'paused')
if was == 1 then
  wake()
end
return was
