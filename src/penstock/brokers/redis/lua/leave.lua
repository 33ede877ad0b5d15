-- A consumer gives back what it holds and ends its lease; in slices, the newest claims first, so that all of them end
-- up at the front in the order in which they were claimed.
--
-- KEYS  as in _queue.lua
-- ARGV  2 consumer   3 most jobs of this slice
-- Returns how many remain.
also_when_full()
-- A fetch that is still on its way must find nothing to do: its number is below this one.
call('HSET', HELD, 'fetch', '9007199254740992')
local claims = {}
collect(claims, HELD, -1)
local _, rest = give_back(claims, tonumber(ARGV[3]), function(n) n[4] = 0 end)
if rest == 0 then
  call('ZREM', LEASES, ARGV[2])
  -- A settle that is repeated is still answered.
  call('EXPIRE', HELD, 3600)
  -- It may have taken a wake token that another consumer waits for.
  if any_ready() then
    wake()
  end
end
return rest
