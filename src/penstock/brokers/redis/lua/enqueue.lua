-- Stores one slice of an enqueue call in one queue, all or nothing, and wakes an idle consumer. The fast way in: it
-- stands alone and names only the keys that it needs.
--
-- KEYS  1 jobs   2 notes   3 due   4 expiry   5 stale   6 totals   7 wake   8 ends   9 the producer's last number
--       10 r0, or 10-19 r0..r9 where the slice is a mixed one
--       from 20 on, for mixed slices: the slice's answer, then the outcome keys of jobs whose id is unique
-- ARGV  1 seconds added to the clock   2 number of the call   3 slice of the call   4 "plain" or "mixed"
--       5.. plain: id, body, ...  (ready at once, priority 0, ids new by themselves)
--       5.. mixed: id, body, priority, due ("" at once, "+s" from now, or a moment), expiry (the same),
--           1 where the id is unique, ...
-- Returns 1 where the queue was new, else 0; for mixed slices then the places (from 0) that were not added.
-- An error that begins with GAP asks for the call's slices from the first one on: an earlier one is missing.
local JOBS, NOTES, DUE, EXPIRY, STALE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local TOTALS, WAKE, ENDS, PRODUCER = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local call = redis.call
local number, slice, mixed = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == 'mixed'

local clock = call('TIME')
local now = clock[1] + clock[2] / 1000000 + ARGV[1]
local before = call('GET', PRODUCER)
local last, last_slice = -1, -1
if before then
  local said, part, at = string.match(before, '^(%d+) (%d+) (%d+)$')
  if tonumber(at) + 3600 > now then
    last, last_slice = tonumber(said), tonumber(part)
  end
end
if number < last or (number == last and slice <= last_slice) then
  local answer = mixed and call('GET', KEYS[20])
  local repeated = {0}
  if answer then
    local said, places = string.match(answer, '^(%d+)(.*)$')
    if tonumber(said) == number then
      for place in string.gmatch(places, '%d+') do
        repeated[#repeated + 1] = tonumber(place)
      end
    end
  end
  return repeated
end
if slice ~= (number == last and last_slice + 1 or 0) then
  return redis.error_reply('GAP an earlier slice of this call is missing')
end
call('SET', PRODUCER, string.format('%d %d %d', number, slice, now), 'EX', 3600)

local refused = {0}
local added, ready, sooner = 0, false, false

local function moment(given)
  if string.sub(given, 1, 1) == '+' then
    return now + string.sub(given, 2)
  end
  return tonumber(given)
end

-- Whether an outcome is still to be known; the clock in it is the one that tests may move.
local function kept(packed)
  local forgotten_at = packed and string.match(packed, '^%S+ %S+ (%S+)')
  return forgotten_at and tonumber(forgotten_at) > now
end

if mixed then
  local lists, outcome_key = {}, 20
  for at = 5, #ARGV, 6 do
    local id, body, priority = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local taken = false
    if ARGV[at + 5] == '1' then
      outcome_key = outcome_key + 1
      taken = call('HEXISTS', JOBS, id) == 1 or kept(call('GET', KEYS[outcome_key])) or kept(call('HGET', ENDS, id))
    end
    if taken then
      refused[#refused + 1] = (at - 5) / 6
    else
      added = added + 1
      call('HSET', JOBS, id, body)
      local expires_at, line, due = 0, 0, ARGV[at + 3]
      if ARGV[at + 4] ~= '' then
        expires_at = moment(ARGV[at + 4])
        call('ZADD', EXPIRY, expires_at, id)
      end
      if ARGV[at + 5] == '1' and call('HEXISTS', STALE, id) == 1 then
        -- Entries of its former self are still in line: its own are told from them by a number.
        line = call('HINCRBY', TOTALS, 'lines', 1)
      end
      if expires_at ~= 0 or line ~= 0 or priority ~= 0 then
        call('HSET', NOTES, id, string.format('0 0 0 0 0 0.000000 %.6f %d %d', expires_at, priority, line))
      end
      due = due ~= '' and moment(due) or now
      if due > now then
        local head = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
        sooner = sooner or not head or due < tonumber(head)
        call('ZADD', DUE, due, id)
      else
        ready = true
        local waiting = lists[priority]
        if not waiting then
          waiting = {}
          lists[priority] = waiting
        end
        waiting[#waiting + 1] = line == 0 and id or id .. ' ' .. line
      end
    end
  end
  for priority, waiting in pairs(lists) do
    call('RPUSH', KEYS[10 + priority], unpack(waiting))
  end
  if #refused > 1 then
    call('SET', KEYS[20], string.format('%d', number) .. ' ' .. table.concat(refused, ' ', 2), 'EX', 3600)
  end
else
  local ids = {}
  for at = 5, #ARGV, 2 do
    added = added + 1
    ids[added] = ARGV[at]
  end
  call('HSET', JOBS, unpack(ARGV, 5))
  call('RPUSH', KEYS[10], unpack(ids))
  ready = true
end
if (ready or sooner) and call('LLEN', WAKE) < 2 and call('HEXISTS', TOTALS, 'paused') == 0 then
  call('RPUSH', WAKE, '1')
end
if added > 0 and call('HINCRBY', TOTALS, 'enqueued', added) == added then
  refused[1] = 1
end
return refused
