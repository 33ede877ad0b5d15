-- A worker is heard of: its card is kept, its answers are stored, and it is told what it is ordered to do.
--
-- KEYS  1 cards   hash   worker -> card
--       2 seen    zset   worker by the end of its lease
--       3 orders  hash   command -> "expires_at verb" (this worker's)
--       4.. the answers' keys
-- ARGV  1 seconds added to the clock   2 worker   3 lease_s   4 card, "" where it has not changed
--       5.. command, answer, ...
-- Returns the orders that are open: {command, verb, ...}.
local call = redis.call
local clock = call('TIME')
local now = clock[1] + clock[2] / 1000000 + ARGV[1]
call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
if ARGV[4] ~= '' then
  call('HSET', KEYS[1], ARGV[2], ARGV[4])
end
for i = 5, #ARGV, 2 do
  if call('HDEL', KEYS[3], ARGV[i]) == 1 then
    call('SET', KEYS[4 + (i - 5) / 2], ARGV[i + 1], 'EX', 3600)
  end
end
local open = {}
local flat = call('HGETALL', KEYS[3])
for i = 1, #flat, 2 do
  local expires_at, verb = string.match(flat[i + 1], '^(%S+) (.*)$')
  if tonumber(expires_at) > now then
    open[#open + 1] = {tonumber(expires_at), flat[i], verb}
  else
    call('HDEL', KEYS[3], flat[i])
  end
end
-- By the moment they were given at would be better; that they end in the same order is as near as it is kept.
table.sort(open, function(a, b) return a[1] < b[1] end)
local told = {}
for _, order in ipairs(open) do
  told[#told + 1] = order[2]
  told[#told + 1] = order[3]
end
return told
