-- Carries out settlements of one consumer's deliveries in one queue; what it does not hold (any more) is left alone.
--
-- KEYS  as in _queue.lua; from 30 on the outcome keys of the kept Done
-- ARGV  2 consumer   3 number of the settle call   4 slice of the call; the same again is answered as the first time
--       5 how many plain Done (nothing kept) and 6 how many kept Done follow: of each group first the ids, then the
--         claims; of the kept ones then ttl_s, 1 where there is a result, and result, each. Then, for each of the
--         others, its kind, id, claim and
--           A again: delay_s, error            F defer: delay_s, error, streak
--           X dead: error, cause, 1 if spent   Q quarantine: error
--           C cancelled: ttl_s                 R release: 1 for the front, 1 if crashed
-- Returns the places (from 0, in the order of the ARGV) of those that were lost, or {"late"}.
local number, slice = tonumber(ARGV[3]), 's' .. ARGV[4]
local before = call('HGET', HELD, slice)
if before then
  local last, answer = string.match(before, '^(%d+) ?(.*)$')
  if tonumber(last) == number then
    local lost = {}
    for place in string.gmatch(answer, '%d+') do
      lost[#lost + 1] = tonumber(place)
    end
    return lost
  elseif tonumber(last) > number then
    return {'late'}
  end
end

also_when_full()
local lost, front, succeeded, failed = {}, {}, 0, 0
local plain, kept, at = tonumber(ARGV[5]), tonumber(ARGV[6]), 7
local watched = call('EXISTS', WATCHED) == 1
-- How the kept Done end, by id, where somebody waits.
local outcomes = {}

local function let_go(first, last)
  succeeded = succeeded + call('HDEL', HELD, unpack(ARGV, first, last))
  call('HDEL', JOBS, unpack(ARGV, first, last))
  if call('EXISTS', NOTES, ERRORS, PROGRESS, ASKED) > 0 then
    call('HDEL', NOTES, unpack(ARGV, first, last))
    call('HDEL', ERRORS, unpack(ARGV, first, last))
    call('HDEL', PROGRESS, unpack(ARGV, first, last))
    call('HDEL', ASKED, unpack(ARGV, first, last))
  end
  if watched then
    for i = first, last do
      tell(ARGV[i], outcomes[ARGV[i]])
    end
  end
end

-- A group of Done: its ids stand at "at", its claims behind them. Runs of held ones are let go with one call each; mostly
-- that is all of them. "keep" is called before with the place in the group of each that is held.
local function done(count, place, keep)
  local held = call('HMGET', HELD, unpack(ARGV, at, at + count - 1))
  local start = at
  for i = 1, count do
    if held[i] ~= ARGV[at + count + i - 1] then
      lost[#lost + 1] = place + i - 1
      if at + i - 1 > start then
        let_go(start, at + i - 2)
      end
      start = at + i
    elseif keep then
      keep(i)
    end
  end
  if start <= at + count - 1 then
    let_go(start, at + count - 1)
  end
  at = at + 2 * count
end

if plain > 0 then
  done(plain, 0)
end
if kept > 0 then
  local ids, results = at, at + 2 * kept
  local noted = call('EXISTS', NOTES) == 1 and call('HMGET', NOTES, unpack(ARGV, ids, ids + kept - 1)) or {}
  local ended_at, until_at = text(now), {}
  done(kept, plain, function(i)
    local claim, ttl_s = ARGV[ids + kept + i - 1], ARGV[results + 3 * (i - 1)]
    if not until_at[ttl_s] then
      until_at[ttl_s] = {text(now + ttl_s), string.format('%d', math.max(1, ttl_s * 1000))}
    end
    local attempt, crashes = '0', '0'
    if noted[i] then
      attempt, crashes = string.match(noted[i], '^(%d+) (%d+)')
    end
    local packed = 'succeeded ' .. ended_at .. ' ' .. until_at[ttl_s][1] .. ' ' .. attempt .. ' ' .. crashes .. ' '
      .. string.sub(claim, 1, 1) .. ' ' .. string.sub(claim, 2) .. '\n'
    if ARGV[results + 3 * (i - 1) + 1] == '1' then
      packed = packed .. '1' .. ARGV[results + 3 * (i - 1) + 2]
    end
    call('SET', KEYS[29 + i], packed, 'PX', until_at[ttl_s][2])
    if watched then
      outcomes[ARGV[ids + i - 1]] = packed
    end
  end)
  at = at + 3 * kept
end

local kinds = {}

function kinds.A(id, priority, token)
  local n = notes_of(id)
  n[1], n[3], n[4], n[5] = n[1] + 1, 0, 0, 0
  if not ends_cancelled(id, n, priority, token) then
    call('HSET', ERRORS, id, '\n' .. ARGV[at + 1])
    to_due(id, n, priority, tonumber(ARGV[at]))
  end
end

function kinds.F(id, priority, token)
  local n = notes_of(id)
  n[3], n[4], n[5] = tonumber(ARGV[at + 2]), 0, 0
  if not ends_cancelled(id, n, priority, token) then
    call('HSET', ERRORS, id, '\n' .. ARGV[at + 1])
    to_due(id, n, priority, tonumber(ARGV[at]))
  end
end

function kinds.X(id, priority)
  local n = notes_of(id)
  n[1], n[3], n[4], n[5], n[8] = n[1] + ARGV[at + 2], 0, 0, 0, priority
  write_notes(id, n)
  call('HSET', ERRORS, id, ARGV[at + 1] .. '\n' .. ARGV[at])
  call('HDEL', ASKED, id)
  call('ZADD', DEAD, now, id)
  failed = failed + 1
  tell(id)
end

function kinds.Q(id, priority)
  local n = notes_of(id)
  n[3], n[4], n[5], n[8] = 0, 0, 0, priority
  write_notes(id, n)
  call('HSET', ERRORS, id, '\n' .. ARGV[at])
  call('HDEL', ASKED, id)
  call('ZADD', ODD, now, id)
  tell(id)
end

function kinds.C(id, priority, token)
  finish(id, 'cancelled', tonumber(ARGV[at]), notes_of(id), priority, token)
end

function kinds.R(id, priority, token)
  local n = notes_of(id)
  n[5] = 0
  if ARGV[at + 1] == '1' then
    n[2], n[4] = n[2] + 1, 1
  end
  if ends_cancelled(id, n, priority, token) then
    return
  elseif ARGV[at] == '1' then
    to_line(id, n, priority, front)
  else
    to_line(id, n, priority)
    wake()
  end
end

local fields = {A = 2, F = 3, X = 3, Q = 1, C = 1, R = 2}
local place = plain + kept
while at <= #ARGV do
  local kind, id, claim = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  if call('HGET', HELD, id) == claim then
    call('HDEL', HELD, id)
    kinds[kind](id, tonumber(string.sub(claim, 1, 1)), string.sub(claim, 2))
  else
    lost[#lost + 1] = place
  end
  at = at + fields[kind]
  place = place + 1
end
push_front(front)
count('succeeded', succeeded)
count('failed', failed)
call('HSET', HELD, slice, string.format('%.0f %s', number, table.concat(lost, ' ')))
if not call('ZSCORE', LEASES, ARGV[2]) then
  call('EXPIRE', HELD, 3600)
end
return lost
