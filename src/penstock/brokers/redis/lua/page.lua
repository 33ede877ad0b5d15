-- The next ids of a sorted set after a place in it, whether or not that one is still there.
--
-- KEYS  1 the set
-- ARGV  1 score and 2 id of the place, "" and "" for the start   3 most ids
-- Returns {id, score, ...}.
local call = redis.call
local from = 0
if ARGV[2] ~= '' then
  local score, id = tonumber(ARGV[1]), ARGV[2]
  local low, high = 0, call('ZCARD', KEYS[1])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local there = call('ZRANGE', KEYS[1], middle, middle, 'WITHSCORES')
    local at = tonumber(there[2])
    if at < score or (at == score and there[1] <= id) then
      low = middle + 1
    else
      high = middle
    end
  end
  from = low
end
return call('ZRANGE', KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
