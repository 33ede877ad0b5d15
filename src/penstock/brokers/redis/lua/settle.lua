-- Carries out settlements of one consumer's deliveries in one queue; what it does not hold (any more) is left alone.
--
-- KEYS  as in _queue.lua; from 29 on the outcome keys of those Done whose result is kept
-- ARGV  2 consumer   3 number of the settle call   4 slice of the call; the same again is answered as the first time
--       5 how many plain Done (nothing kept) follow: first their ids, then their claims; then, for each of the others,
--         its kind, id, claim and
--           D result kept in the next outcome key: ttl_s, 1 where there is a result, result
--           A again: delay_s, error            F defer: delay_s, error, streak
--           X dead: error, cause, 1 if spent   Q quarantine: error
--           C cancelled: ttl_s                 R release: 1 for the front, 1 if crashed
-- Returns the places (from 0, plain ones first) of those that were lost, or {"late"}.
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
local plain, at = tonumber(ARGV[5]), 6
local watched = call('EXISTS', WATCHED) == 1

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
      tell(ARGV[i])
    end
  end
end

if plain > 0 then
  local held = call('HMGET', HELD, unpack(ARGV, at, at + plain - 1))
  -- Runs of held ones are let go with one call each; mostly that is all of them.
  local start = at
  for i = 1, plain do
    if held[i] ~= ARGV[at + plain + i - 1] then
      lost[#lost + 1] = i - 1
      if at + i - 1 > start then
        let_go(start, at + i - 2)
      end
      start = at + i
    end
  end
  if start <= at + plain - 1 then
    let_go(start, at + plain - 1)
  end
  at = at + 2 * plain
end

local kinds = {}

function kinds.D(id, priority, token)
  local n, ttl_s = notes_of(id), tonumber(ARGV[at])
  local packed = outcome('succeeded', ttl_s, n, priority, token)
  if ARGV[at + 1] == '1' then
    packed = packed .. '1' .. ARGV[at + 2]
  end
  forget(id)
  call('SET', KEYS[kinds.key], packed, 'PX', math.max(1, math.floor(ttl_s * 1000)))
  succeeded = succeeded + 1
  tell(id)
end

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

local fields = {D = 3, A = 2, F = 3, X = 3, Q = 1, C = 1, R = 2}
local place = plain
kinds.key = 28
while at <= #ARGV do
  local kind, id, claim = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  if kind == 'D' then
    kinds.key = kinds.key + 1
  end
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
