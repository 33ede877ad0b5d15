-- What every script of a queue begins with: its keys by name, the clock, and the few moves that all of them share.
--
-- KEYS  1 jobs      hash   id -> body, of every job that has not ended well
--       2 notes     hash   id -> "attempt crashes streak suspect started retried_at expires_at priority line";
--                          absent means all zero, so that the common job costs nothing
--       3 errors    hash   id -> cause, newline, error
--       4 progress  hash   id -> data
--       5 due       zset   id by the moment it is due
--       6 expiry    zset   id by its expiry, of waiting jobs that have one
--       7 stale     hash   id -> how many entries of the ready lists are to be skipped for it
--       8 dead      zset   id by the moment it died
--       9 odd       zset   id by the moment it was quarantined
--      10 asked     hash   id -> seconds that the state is kept, of running jobs that are to be cancelled
--      11 leases    zset   consumer by the end of its lease
--      12 totals    hash   counters; "claims" is the last token drawn, and "paused" is there while nothing may be claimed
--      13 wake      list   one token for an idle consumer to take
--      14 watched   hash   id -> inboxes of those who wait for its end
--      15 witness   hash   of the last round of maintenance
--      16 ends      hash   id -> outcome of jobs that ended where no key of their own was declared
--      17 ended     zset   id by the moment its entry in "ends" is forgotten
--   18-27 r0..r9    list   ready jobs of each priority; an entry is an id, or "id line" for an id that was taken anew
--                          while entries of its former self were still in line
--      28 suspects list   ready jobs that were lost with a worker, of every priority; entries as above
--      29 held      hash   one consumer's: id -> priority digit, then token; and, without a colon in their names, its
--                          last fetch number, its last settles with their answers, and "form" (see join.lua)
-- ARGV  1 seconds added to the clock (0 outside of tests)
local JOBS, NOTES, ERRORS, PROGRESS, DUE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local EXPIRY, STALE, DEAD, ODD, ASKED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local LEASES, TOTALS, WAKE, WATCHED, WITNESS = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local ENDS, ENDED, SUSPECTS, HELD = KEYS[16], KEYS[17], KEYS[28], KEYS[29]
local call = redis.call
local clock = call('TIME')
local now = clock[1] + clock[2] / 1000000 + ARGV[1]

-- Lets the script write though the server's memory is full. The server refuses a script's first write where it takes
-- memory, and what begins with another kind it lets through; without this a full server could not even be emptied.
local function also_when_full()
  call('HDEL', TOTALS, '')
end

local function line_of(priority)
  return KEYS[18 + priority]
end

-- Where a job stands while it is ready.
local function line_for(n, priority)
  if n[4] == 1 then
    return SUSPECTS
  end
  return line_of(priority)
end

-- A moment as text: Lua's own conversion would keep 14 digits of it.
local function text(moment)
  return string.format('%.6f', moment)
end

local function read_notes(raw)
  local n = {0, 0, 0, 0, 0, 0, 0, 0, 0}
  if raw then
    local i = 0
    for part in string.gmatch(raw, '%S+') do
      i = i + 1
      n[i] = tonumber(part)
    end
  end
  return n
end

local function notes_of(id)
  return read_notes(call('HGET', NOTES, id))
end

local function pack_notes(n)
  return string.format('%d %d %d %d %d %.6f %.6f %d %d', n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9])
end

local function write_notes(id, n)
  for i = 1, 9 do
    if n[i] ~= 0 then
      call('HSET', NOTES, id, pack_notes(n))
      return
    end
  end
  call('HDEL', NOTES, id)
end

-- How a job stands in its line.
local function entry(id, n)
  if n[9] ~= 0 then
    return id .. ' ' .. n[9]
  end
  return id
end

local function is_paused()
  return call('HEXISTS', TOTALS, 'paused') == 1
end

-- Nobody is woken for a queue that is paused: there is nothing to find.
local function wake()
  if call('LLEN', WAKE) < 2 and not is_paused() then
    call('RPUSH', WAKE, '1')
  end
end

local function count(field, by)
  if by ~= 0 then
    call('HINCRBY', TOTALS, field, by)
  end
end

-- Tells those who wait for a job's end, and how it ended where that is short; a queue that nobody waits on publishes
-- nothing.
local function tell(id, outcome)
  local inboxes = call('HGET', WATCHED, id)
  if inboxes then
    call('HDEL', WATCHED, id)
    local said = id
    if outcome and #outcome <= 8192 then
      said = id .. '\n' .. outcome
    end
    for inbox in string.gmatch(inboxes, '%S+') do
      -- A user who may not publish must not end a script half way: what is told here is a hint.
      redis.pcall('PUBLISH', inbox, said)
    end
  end
end

-- Lets go of a job's body and of all that is noted of it.
local function forget(id)
  call('HDEL', JOBS, id)
  if call('EXISTS', NOTES, ERRORS, PROGRESS, ASKED) > 0 then
    call('HDEL', NOTES, id)
    call('HDEL', ERRORS, id)
    call('HDEL', PROGRESS, id)
    call('HDEL', ASKED, id)
  end
end

-- An outcome: "state ended_at forgotten_at attempt crashes priority token", newline, result.
local function outcome(state, keep_s, n, priority, token)
  return string.format('%s %.6f %.6f %d %d %d %s\n', state, now, now + keep_s, n[1], n[2], priority, token)
end

-- Ends a job in a state that is kept for a while, where its id was not known before the script ran.
local function finish(id, state, keep_s, n, priority, token)
  forget(id)
  if keep_s > 0 then
    call('HSET', ENDS, id, outcome(state, keep_s, n, priority, token))
    call('ZADD', ENDED, now + keep_s, id)
  end
  tell(id)
end

-- Puts a job back into its line: at the end, or into "front", which collects, so that many keep their order there.
local function to_line(id, n, priority, front)
  n[8] = priority
  write_notes(id, n)
  if n[7] > 0 then
    call('ZADD', EXPIRY, n[7], id)
  end
  local line = line_for(n, priority)
  if front then
    local waiting = front[line]
    if waiting then
      waiting[#waiting + 1] = entry(id, n)
    else
      front[line] = {entry(id, n)}
    end
  else
    call('RPUSH', line, entry(id, n))
  end
end

-- Pushes what was collected for the front.
local function push_front(front)
  local any = false
  for line, waiting in pairs(front) do
    for i = #waiting, 1, -1 do
      call('LPUSH', line, waiting[i])
    end
    any = true
  end
  if any then
    wake()
  end
end

local function to_due(id, n, priority, delay_s)
  n[8] = priority
  write_notes(id, n)
  if n[7] > 0 then
    call('ZADD', EXPIRY, n[7], id)
  end
  local first = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  call('ZADD', DUE, now + delay_s, id)
  if not first[2] or now + delay_s < tonumber(first[2]) then
    wake()
  end
end

-- Moves what has become due to the end of its line, by its moment.
local function promote(limit)
  local ids = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)
  if #ids == 0 then
    return 0
  end
  local raw = call('HMGET', NOTES, unpack(ids))
  for i, id in ipairs(ids) do
    local n = read_notes(raw[i])
    call('RPUSH', line_of(n[8]), entry(id, n))
  end
  call('ZREM', DUE, unpack(ids))
  return #ids
end

-- An entry that stays in line without its job.
local function leave_stale(id)
  call('HINCRBY', STALE, id, 1)
  count('stale', 1)
end

local function any_ready()
  for i = 28, 18, -1 do
    if call('EXISTS', KEYS[i]) == 1 then
      return true
    end
  end
  return false
end

-- What a consumer holds by tokens above one: {key, id, priority, token}, added to "claims".
local function collect(claims, key, above)
  local flat = call('HGETALL', key)
  for i = 1, #flat, 2 do
    local token = string.find(flat[i], ':', 1, true) and tonumber(string.sub(flat[i + 1], 2))
    if token and token > above then
      claims[#claims + 1] = {key, flat[i], tonumber(string.sub(flat[i + 1], 1, 1)), token}
    end
  end
end

-- A job that was asked to be cancelled ends where it would go back.
local function ends_cancelled(id, n, priority, token)
  local keep_s = call('HGET', ASKED, id)
  if not keep_s then
    return false
  end
  finish(id, 'cancelled', tonumber(keep_s), n, priority, token)
  return true
end

-- Takes up to "limit" claims, the newest first, and puts their jobs back at the front in the order of the claims; so
-- slice after slice ends up in that order. "mark" changes the notes of each. Returns how many, and how many remain.
local function give_back(claims, limit, mark)
  table.sort(claims, function(a, b) return a[4] > b[4] end)
  local taken = math.min(limit, #claims)
  local front = {}
  for i = taken, 1, -1 do
    local key, id, priority, token = unpack(claims[i])
    local n = notes_of(id)
    mark(n)
    n[5] = 0
    if not ends_cancelled(id, n, priority, string.format('%.0f', token)) then
      to_line(id, n, priority, front)
    end
    call('HDEL', key, id)
  end
  push_front(front)
  return taken, #claims - taken
end
