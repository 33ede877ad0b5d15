-- Where jobs stand, for the scripts that are given ids from outside. After them in the arguments stand the consumers
-- whose claims are among the keys: whoever has a lease must be, else a running job would be taken for a ready one.

local function kept(packed)
  local forgotten_at = packed and string.match(packed, '^%S+ %S+ (%S+)')
  return forgotten_at and tonumber(forgotten_at) > now and packed
end

-- The outcome of a job that is not stored any more, where it is still to be known.
local function kept_outcome(key, id)
  return kept(call('GET', key)) or kept(call('HGET', ENDS, id))
end

-- For each of the ARGV[first] ids after it: false where no body is stored, else {state=, moment=, claim=, consumer=,
-- ended=}. As a second value how many; none where a consumer was not named, and then the consumers come first.
local function locate(first)
  local many = tonumber(ARGV[first])
  local leases = call('ZRANGE', LEASES, 0, -1)
  local named = {}
  for i = first + many + 1, #ARGV do
    named[ARGV[i]] = true
  end
  for _, consumer in ipairs(leases) do
    if not named[consumer] then
      return {'consumers', unpack(leases)}
    end
  end
  if many == 0 then
    return {}, 0
  end
  local found, unknown, ids = {}, {}, {}
  for i = 1, many do
    local id = ARGV[first + i]
    found[i] = false
    if call('HEXISTS', JOBS, id) == 1 then
      local due, dead, odd = call('ZSCORE', DUE, id), false, false
      if not due then
        dead = call('ZSCORE', DEAD, id)
        odd = not dead and call('ZSCORE', ODD, id)
      end
      if due then
        found[i] = {state = 'scheduled', moment = due}
      elseif dead then
        found[i] = {state = 'failed', moment = dead, ended = true}
      elseif odd then
        found[i] = {state = 'quarantined', moment = odd, ended = true}
      else
        found[i] = {state = 'ready'}
        unknown[#unknown + 1] = i
        ids[#ids + 1] = id
      end
    end
  end
  if #ids > 0 then
    for i = first + many + 1, #ARGV do
      local claims = call('HMGET', KEYS[29 + many + i - first - many], unpack(ids))
      for j, claim in ipairs(claims) do
        if claim then
          found[unknown[j]] = {state = 'running', claim = claim, consumer = ARGV[i]}
        end
      end
    end
  end
  return found, many
end
