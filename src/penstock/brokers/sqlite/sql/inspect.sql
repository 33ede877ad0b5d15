-- Looking at what is stored, and acting on it.

-- [queues] Every queue that has ever held a job or is paused, by name. ?1 namespace
SELECT name, ready, scheduled, running, failed, quarantined, enqueued_total, succeeded_total, failed_total, lost_total,
  paused
FROM queues WHERE namespace = ?1 AND (enqueued_total > 0 OR paused = 1) ORDER BY name;

-- [pause] Pauses a queue, or ends its pause. ?1 queue, ?2 1 to pause, 0 to go on
UPDATE queues SET paused = ?2 WHERE key = ?1 AND paused <> ?2;

-- [get] All that is known of one job. ?1 namespace, ?2 queue's name, ?3 id, ?4 now
SELECT j.id, q.name, j.state, b.body, j.priority, j.attempt, j.crashes, j.token, j.due_at, j.expires_at, j.ended_at,
  c.id, j.cancel_ttl_s, j.cause, j.error, j.result, j.progress, j.key
FROM queues AS q
JOIN jobs AS j ON j.queue = q.key
JOIN bodies AS b ON b.job = j.key
LEFT JOIN consumers AS c ON c.key = j.consumer
WHERE q.namespace = ?1 AND q.name = ?2 AND j.id = ?3 AND (j.forget_at IS NULL OR j.forget_at > ?4);

-- [record] As get, by the job's key. ?1 key
SELECT j.id, q.name, j.state, b.body, j.priority, j.attempt, j.crashes, j.token, j.due_at, j.expires_at, j.ended_at,
  c.id, j.cancel_ttl_s, j.cause, j.error, j.result, j.progress, j.key
FROM jobs AS j
JOIN queues AS q ON q.key = j.queue
JOIN bodies AS b ON b.job = j.key
LEFT JOIN consumers AS c ON c.key = j.consumer
WHERE j.key = ?1;

-- [ready] A slice of a queue's ready jobs, behind a cursor of (priority, place); suspects stand before the others, as
-- of priority 10. ?1 queue, ?2 priority, ?3 place, ?4 limit
SELECT * FROM (
  SELECT key, 10, place FROM jobs
  WHERE queue = ?1 AND state = 'ready' AND suspect = 1 AND (?2 > 10 OR (?2 = 10 AND place > ?3))
  ORDER BY place LIMIT ?4
)
UNION ALL
SELECT * FROM (
  SELECT key, priority, place FROM jobs
  WHERE queue = ?1 AND state = 'ready' AND suspect = 0 AND (priority < ?2 OR (priority = ?2 AND place > ?3))
  ORDER BY priority DESC, place LIMIT ?4
)
LIMIT ?4;

-- [scheduled] The same of its scheduled jobs, by (due_at, place). ?1 queue, ?2 due at, ?3 place, ?4 limit
SELECT key, due_at, place FROM jobs
WHERE queue = ?1 AND state = 'scheduled' AND (due_at, place) > (?2, ?3)
ORDER BY due_at, place LIMIT ?4;

-- [running] The same of its running jobs, by (token, key). ?1 queue, ?2 token, ?3 key, ?4 limit
SELECT key, token, key FROM jobs
WHERE queue = ?1 AND state = 'running' AND token > ?2 AND ?3 IS NOT NULL ORDER BY token LIMIT ?4;

-- [failed] The same of its dead jobs, by (ended_at, key). ?1 queue, ?2 ended at, ?3 key, ?4 limit
SELECT key, ended_at, key FROM jobs
WHERE queue = ?1 AND state = 'failed' AND (ended_at, key) > (?2, ?3) ORDER BY ended_at, key LIMIT ?4;

-- [quarantined] The same of its quarantined jobs, by (ended_at, key). ?1 queue, ?2 ended at, ?3 key, ?4 limit
SELECT key, ended_at, key FROM jobs
WHERE queue = ?1 AND state = 'quarantined' AND (ended_at, key) > (?2, ?3) ORDER BY ended_at, key LIMIT ?4;

-- [find] What a change needs to know of a job. ?1 queue, ?2 id, ?3 now
SELECT key, state FROM jobs WHERE queue = ?1 AND id = ?2 AND (forget_at IS NULL OR forget_at > ?3);

-- [retry_dead] A dead job begins anew, at the end of its line. ?1 place, ?2 now, ?3 key
UPDATE jobs SET state = 'ready', place = ?1, retried_at = ?2, attempt = 0, crashes = 0, streak = 0, suspect = 0,
  started = 0, cancel_ttl_s = NULL, expires_at = NULL, ended_at = 0, forget_at = NULL, cause = '', error = NULL
WHERE key = ?3;

-- [retry_scheduled] A scheduled job is due now, at the end of its line. ?1 place, ?2 now, ?3 key
UPDATE jobs SET state = 'ready', place = ?1, due_at = ?2 WHERE key = ?3;

-- [ask_to_cancel] Asks the worker of a running job. ?1 seconds to keep the state, ?2 key
UPDATE jobs SET cancel_ttl_s = ?1 WHERE key = ?2;

-- [workers] Consumers whose lease holds or who still hold jobs. ?1 namespace, ?2 now
SELECT card FROM consumers
WHERE namespace = ?1
  AND (lease_until > ?2 OR key IN (SELECT consumer FROM jobs INDEXED BY jobs_running WHERE state = 'running'));

-- [command] An order to a worker. ?1 namespace, ?2 id, ?3 worker, ?4 verb, ?5 expires at
INSERT INTO commands (namespace, id, worker, verb, expires_at) VALUES (?1, ?2, ?3, ?4, ?5);

-- [answer] A worker's answer. ?1 namespace, ?2 id
SELECT answer FROM commands WHERE namespace = ?1 AND id = ?2;
