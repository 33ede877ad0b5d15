-- What is known of jobs by their ids. With an inbox, those that have not ended yet are watched for it.
--
-- KEYS  as in _queue.lua; from 30 on the outcome key of each id, then the claims of each consumer
-- ARGV  2 inbox or ""   3 how many ids, then the ids, then the consumers
-- Returns {"consumers", ...} where a consumer has a lease and was not named: call again with these.
-- Otherwise for each id false, {"o", outcome} or
--         {state, body, notes, error, progress, moment due or ended, claim, consumer, seconds asked for,
--          with an inbox the last claim drawn in this queue}
local found, many = locate(3)
if not many then
  return found
end
local inbox = ARGV[2]
local records = {}
for i, at in ipairs(found) do
  local id = ARGV[3 + i]
  local outcome_of = not at and kept_outcome(KEYS[29 + i], id)
  if at then
    records[i] = {
      at.state, call('HGET', JOBS, id), pack_notes(notes_of(id)), call('HGET', ERRORS, id) or '',
      call('HGET', PROGRESS, id) or '', at.moment or '', at.claim or '', at.consumer or '',
      call('HGET', ASKED, id) or '', inbox ~= '' and call('HGET', TOTALS, 'claims') or '0',
    }
    if inbox ~= '' and not at.ended then
      local inboxes = call('HGET', WATCHED, id) or ''
      if not string.find(inboxes, inbox, 1, true) then
        call('HSET', WATCHED, id, inboxes .. ' ' .. inbox)
      end
    end
  elseif outcome_of then
    records[i] = {'o', outcome_of}
  else
    records[i] = false
  end
end
return records
