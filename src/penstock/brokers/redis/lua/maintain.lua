-- One round of a queue's upkeep: promotes, expires, forgets what was kept long enough, and finds leases that are over.
--
-- KEYS  as in _queue.lua
-- ARGV  2 most jobs of each kind   3 lease_s   4 seconds that an expired job's state is kept
--       5 seconds and 6 jobs that the dead and the quarantined are kept
-- Returns {promoted, expired, pruned, dropped (the dead and quarantined of them), 1 where there may be more, seconds in which nothing is reclaimed,
--          {consumers whose lease is over}}.
local limit, lease_s = tonumber(ARGV[2]), tonumber(ARGV[3])

also_when_full()
-- Reclaiming needs a witness: whoever could not beat because the broker stood still is given a lease's time.
local tick, quiet = call('HGET', WITNESS, 'tick'), tonumber(call('HGET', WITNESS, 'quiet_until') or '0')
if not tick or now - tick > lease_s / 2 or tonumber(tick) > now then
  quiet = now + lease_s
end
if tick and tonumber(tick) > now then
  -- The clock went back. Leases that it gave when it was ahead are put back as far, or whoever is dead would live that
  -- much longer; but none to before the end of one that is given now.
  local given_now = now + lease_s
  local late = call('ZRANGEBYSCORE', LEASES, '(' .. text(given_now), '+inf', 'WITHSCORES')
  for i = 1, #late, 2 do
    call('ZADD', LEASES, math.max(given_now, late[i + 1] - (tick - now)), late[i])
  end
end
call('HSET', WITNESS, 'tick', text(now), 'quiet_until', text(quiet))
local waiting_s = math.max(0, quiet - now)

local expired = 0
for _, id in ipairs(call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, limit)) do
  local n = notes_of(id)
  call('ZREM', EXPIRY, id)
  if call('ZREM', DUE, id) == 0 then
    leave_stale(id)
  end
  finish(id, 'expired', tonumber(ARGV[4]), n, n[8], '0')
  expired = expired + 1
end

local promoted = promote(limit)
if promoted > 0 then
  wake()
end

local pruned, dropped = 0, 0
local function prune(set, ids, whole)
  for _, id in ipairs(ids) do
    call('ZREM', set, id)
    if whole then
      forget(id)
      dropped = dropped + 1
    else
      call('HDEL', ENDS, id)
    end
  end
  pruned = pruned + #ids
  return #ids
end
local most = prune(ENDED, call('ZRANGEBYSCORE', ENDED, '-inf', now, 'LIMIT', 0, limit), false)
for _, set in ipairs({DEAD, ODD}) do
  most = math.max(most, prune(set, call('ZRANGEBYSCORE', set, '-inf', now - ARGV[5], 'LIMIT', 0, limit), true))
  local above = call('ZCARD', set) - ARGV[6]
  if above > 0 then
    most = math.max(most, prune(set, call('ZRANGE', set, 0, math.min(above, limit) - 1), true))
  end
end

local over = {}
if waiting_s == 0 then
  over = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 100)
end
local more = 0
if math.max(promoted, expired, most) >= limit then
  more = 1
end
return {promoted, expired, pruned, dropped, more, text(waiting_s), over}
