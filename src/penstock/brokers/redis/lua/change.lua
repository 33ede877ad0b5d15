-- An operator retries, cancels or deletes jobs; each that is in a state for it.
--
-- KEYS  as in _queue.lua; from 30 on the outcome key of each id, then the claims of each consumer
-- ARGV  2 "retry", "cancel" or "delete"   3 seconds that a cancelled job's state is kept
--       4 how many ids, then the ids, then the consumers
-- Returns {"consumers", ...} as records.lua does, or {"done", ids that it applied to}.
local found, many = locate(4)
if not many then
  return found
end
also_when_full()
local verb, keep_s = ARGV[2], tonumber(ARGV[3])

-- Takes a job that no worker holds out of where it stands.
local function take_out(id, at)
  if at.state == 'ready' then
    leave_stale(id)
  elseif at.state == 'scheduled' then
    call('ZREM', DUE, id)
  else
    call('ZREM', DEAD, id)
    call('ZREM', ODD, id)
  end
  call('ZREM', EXPIRY, id)
end

local changes = {}

function changes.retry(id, at)
  local n = notes_of(id)
  if at.state == 'failed' or at.state == 'quarantined' then
    take_out(id, at)
    call('HDEL', ERRORS, id)
    call('HDEL', ASKED, id)
    n[1], n[2], n[3], n[4], n[5], n[6], n[7] = 0, 0, 0, 0, 0, now, 0
  elseif at.state == 'scheduled' then
    call('ZREM', DUE, id)
  else
    return false
  end
  to_line(id, n, n[8])
  wake()
  return true
end

function changes.cancel(id, at)
  if at.state == 'running' then
    call('HSET', ASKED, id, ARGV[3])
  elseif at.state == 'ready' or at.state == 'scheduled' then
    local n = notes_of(id)
    take_out(id, at)
    finish(id, 'cancelled', keep_s, n, n[8], '0')
  else
    return false
  end
  return true
end

function changes.delete(id, at, key)
  if at then
    if at.state == 'running' then
      return false
    end
    take_out(id, at)
    forget(id)
  elseif not kept_outcome(key, id) then
    return false
  end
  call('DEL', key)
  call('HDEL', ENDS, id)
  call('ZREM', ENDED, id)
  tell(id)
  return true
end

local applied, seen = {}, {}
for i, at in ipairs(found) do
  local id = ARGV[4 + i]
  if not seen[id] and (at or verb == 'delete') and changes[verb](id, at, KEYS[29 + i]) then
    applied[#applied + 1] = id
  end
  seen[id] = true
end
return {'done', applied}
