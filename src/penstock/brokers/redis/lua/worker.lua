-- A consumer is heard of: its worker's card is kept, answers are stored, and it is told what it is ordered to do.
--
-- KEYS  1 cards   hash   consumer -> card
--       2 seen    hash   consumer -> "seen_at lease's end queue queue ..."
--       3 orders  hash   command -> "given_at expires_at verb" (this worker's)
--       4.. the answers' keys
-- ARGV  1 seconds added to the clock   2 consumer   3 lease_s   4 card
--       5 its queues, with spaces between   6.. command, answer, ...
-- Returns the orders that are open, oldest first: {command, verb, ...}.
local call = redis.call
local clock = call('TIME')
local now = clock[1] + clock[2] / 1000000 + ARGV[1]
-- A first write that takes no memory, so that a full server lets the others through (see _queue.lua).
call('HDEL', KEYS[3], '')
call('HSET', KEYS[2], ARGV[2], string.format('%.6f %.6f %s', now, now + ARGV[3], ARGV[5]))
call('HSET', KEYS[1], ARGV[2], ARGV[4])
for i = 6, #ARGV, 2 do
  if call('HDEL', KEYS[3], ARGV[i]) == 1 then
    call('SET', KEYS[4 + (i - 6) / 2], ARGV[i + 1], 'EX', 3600)
  end
end
local open = {}
local flat = call('HGETALL', KEYS[3])
for i = 1, #flat, 2 do
  local given_at, expires_at, verb = string.match(flat[i + 1], '^(%S+) (%S+) (.*)$')
  if tonumber(expires_at) > now then
    open[#open + 1] = {tonumber(given_at), flat[i], verb}
  else
    call('HDEL', KEYS[3], flat[i])
  end
end
table.sort(open, function(a, b) return a[1] < b[1] end)
local told = {}
for _, order in ipairs(open) do
  told[#told + 1] = order[2]
  told[#told + 1] = order[3]
end
return told
