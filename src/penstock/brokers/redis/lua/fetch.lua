-- Claims ready jobs of one queue for a consumer: promotes what is due, renews the lease, skips what was cancelled, ends
-- what has expired, and takes by priority and age. A fetch that leaves jobs behind passes a wake token on.
--
-- KEYS  as in _queue.lua
-- ARGV  2 consumer   3 number of this fetch; one that is not above the last is a late copy, and does nothing
--       4 lease_s    5 most jobs   6 most bytes
--       7 "" where the last reply arrived; else the last token known here: newer ones were claimed and never delivered
--       8 what a token is multiplied by, and 9 what is added to it: the queue's place among the consumer's
--      10 seconds that an expired job's state is kept   11 1 where one larger body may come alone   12 most suspects
-- Returns {"join"} where the consumer has no lease, {"late"}, or
--         {first token, seconds to the next due moment or "", ids, bodies, priorities as digits, {place, notes, ...},
--          1 where the next job did not fit into the bytes}
local consumer, limit, max_bytes = ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6])
if not call('ZSCORE', LEASES, consumer) then
  return {'join'}
end
local last = call('HGET', HELD, 'fetch')
if last and tonumber(last) >= tonumber(ARGV[3]) then
  return {'late'}
end
also_when_full()
call('HSET', HELD, 'fetch', ARGV[3])
call('ZADD', LEASES, now + ARGV[4], consumer)
if ARGV[7] ~= '' then
  -- What a lost reply carried goes back to the front, and is most likely claimed again just below.
  -- No more than one fetch was answered with can be missing, so this is as bounded as a fetch is.
  local undelivered = {}
  collect(undelivered, HELD, tonumber(ARGV[7]))
  give_back(undelivered, #undelivered, function() end)
end
if is_paused() then
  return {'0', '', {}, {}, '', {}, 0}
end
promote(200)

local ids, bodies, digits, noted = {}, {}, {}, {}
local bytes, full, alone = 0, false, ARGV[11] == '1'
-- Whether any job of this queue has notes, or any entry is to be skipped.
local plain = call('EXISTS', NOTES, STALE) == 0

-- An entry whose job was cancelled, has expired or was deleted while it stood in line.
local function skip(id)
  if call('HEXISTS', STALE, id) == 1 then
    if call('HINCRBY', STALE, id, -1) == 0 then
      call('HDEL', STALE, id)
    end
    count('stale', -1)
  end
end

-- Whether the job may not start: it is not the one that the entry stands for, or it has expired.
local function gone(id, line, body, n)
  if not body or n[9] ~= line then
    skip(id)
    return true
  end
  if n[7] > 0 and n[7] <= now then
    call('ZREM', EXPIRY, id)
    finish(id, 'expired', tonumber(ARGV[10]), n, n[8], '0')
    return true
  end
  return false
end

-- The ids of entries, and the lines of those that name one.
local function read_entries(names)
  if plain then
    return names, {}
  end
  local named, lines = {}, {}
  for i, name in ipairs(names) do
    local gap = string.find(name, ' ', 1, true)
    if gap then
      named[i], lines[i] = string.sub(name, 1, gap - 1), tonumber(string.sub(name, gap + 1))
    else
      named[i] = name
    end
  end
  return named, lines
end

-- Takes from entries that were popped off a line; the first one that does not fit goes back with all behind it.
local function take(line, names, priority)
  local named, lines = read_entries(names)
  local found = call('HMGET', JOBS, unpack(named))
  local notes = plain and {} or call('HMGET', NOTES, unpack(named))
  local at = #ids
  for i, id in ipairs(named) do
    local body = found[i]
    local n = (notes[i] or lines[i] or not body) and read_notes(notes[i])
    if not (n and gone(id, lines[i] or 0, body, n)) then
      if bytes + #body > max_bytes and (at > 0 or not alone) then
        full = true
        for back = #names, i, -1 do
          call('LPUSH', line, names[back])
        end
        return
      end
      if n and n[7] > 0 then
        call('ZREM', EXPIRY, id)
      end
      at = at + 1
      ids[at], bodies[at], digits[at] = id, body, priority or n[8]
      bytes = bytes + #body
      if notes[i] then
        noted[#noted + 1] = at - 1
        noted[#noted + 1] = notes[i]
      end
    end
  end
end

local suspects = math.min(tonumber(ARGV[12]), limit)
while not full and #ids < suspects do
  local names = call('LPOP', SUSPECTS, suspects - #ids)
  if not names then
    break
  end
  take(SUSPECTS, names)
end
-- Small steps first, so that large bodies are not all read to be put back.
local step = 10
for priority = 9, 0, -1 do
  while not full and #ids < limit do
    local line = line_of(priority)
    local names = call('LPOP', line, math.min(step, limit - #ids))
    if not names then
      break
    end
    take(line, names, priority)
    if #ids > 0 then
      step = math.max(1, math.min(100, math.floor((max_bytes - bytes) * #ids / (bytes + 1))))
    end
  end
  if full or #ids >= limit then
    break
  end
end

local first = 0
if #ids > 0 then
  local newest = call('HINCRBY', TOTALS, 'claims', #ids)
  first = (newest - #ids + 1) * ARGV[8] + ARGV[9]
  local pairs_of = {}
  for i, id in ipairs(ids) do
    pairs_of[2 * i - 1] = id
    pairs_of[2 * i] = string.format('%d%.0f', digits[i], first + (i - 1) * ARGV[8])
  end
  call('HSET', HELD, unpack(pairs_of))
  if any_ready() then
    wake()
  end
end
local next_due = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
if next_due then
  next_due = text(math.max(0, next_due - now))
end
return {string.format('%.0f', first), next_due or '', ids, bodies, table.concat(digits), noted, full and 1 or 0}
