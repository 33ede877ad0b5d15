-- Renews a consumer's lease on a queue, writes its notes, and says what it has lost and what is to be cancelled.
--
-- KEYS  as in _queue.lua
-- ARGV  2 consumer   3 lease_s   4 how many started, then id, claim, ...
--       then how many progressed, then id, claim, data, ...   then how many held, then id, claim, ...
-- Returns {claims that are lost, claims to be cancelled}.
also_when_full()
call('ZADD', LEASES, now + ARGV[3], ARGV[2])
call('PERSIST', HELD)
local lost, at = {}, 4

local function held(id, claim)
  if call('HGET', HELD, id) == claim then
    return true
  end
  lost[#lost + 1] = claim
  return false
end

local started = tonumber(ARGV[at])
for i = at + 1, at + 2 * started, 2 do
  if held(ARGV[i], ARGV[i + 1]) then
    local n = notes_of(ARGV[i])
    n[5], n[8] = 1, tonumber(string.sub(ARGV[i + 1], 1, 1))
    write_notes(ARGV[i], n)
  end
end
at = at + 1 + 2 * started
local progressed = tonumber(ARGV[at])
for i = at + 1, at + 3 * progressed, 3 do
  if held(ARGV[i], ARGV[i + 1]) then
    call('HSET', PROGRESS, ARGV[i], ARGV[i + 2])
  end
end
at = at + 1 + 3 * progressed
for i = at + 1, at + 2 * ARGV[at], 2 do
  held(ARGV[i], ARGV[i + 1])
end

local cancelled = {}
-- The shorter of the two is gone through; what a consumer holds is bounded by its window.
local asked, mine = call('HLEN', ASKED), call('HLEN', HELD)
if asked > 0 and mine > 0 then
  local shorter, other = ASKED, HELD
  if mine < asked then
    shorter, other = HELD, ASKED
  end
  for _, id in ipairs(call('HKEYS', shorter)) do
    if call('HEXISTS', other, id) == 1 then
      cancelled[#cancelled + 1] = call('HGET', HELD, id)
    end
  end
end
return {lost, cancelled}
