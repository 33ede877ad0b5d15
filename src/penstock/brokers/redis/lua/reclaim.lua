-- Takes back the jobs of consumers whose lease is over, a slice at a time: suspects at the front of their line, in the
-- order of the claims, whoever made them. Those that had been marked started count one more crash.
--
-- KEYS  as in _queue.lua; from 30 on what each consumer holds
-- ARGV  2 most jobs of this slice   3.. the consumers
-- Returns {how many were taken, how many remain}.
local quiet_until = call('HGET', WITNESS, 'quiet_until')
if not quiet_until or tonumber(quiet_until) > now then
  return {0, 0}
end
also_when_full()

local claims, over, later = {}, {}, 0
for i = 3, #ARGV do
  local ends_at = call('ZSCORE', LEASES, ARGV[i])
  if ends_at and tonumber(ends_at) <= now then
    -- All that is taken back is put into one order, so it has a bound; the others' turn comes with the next call.
    if #claims > 5000 then
      later = later + 1
    else
      over[ARGV[i]] = KEYS[27 + i]
      collect(claims, KEYS[27 + i], -1)
    end
  end
end
local taken, rest = give_back(claims, tonumber(ARGV[2]), function(n)
  n[4] = 1
  n[2] = n[2] + n[5]
end)
for consumer, key in pairs(over) do
  local left = {}
  if rest > 0 then
    collect(left, key, -1)
  end
  if #left == 0 then
    call('ZREM', LEASES, consumer)
    -- What its last settles were answered is forgotten, unless it comes back.
    call('EXPIRE', key, 3600)
  end
end
count('lost', taken)
return {taken, rest + later}
