-- What became of jobs that a consumer held.

-- [last_call] A consumer's key and the answer to its last settle call. ?1 namespace, ?2 id
SELECT key, settle_number, settle_lost FROM consumers WHERE namespace = ?1 AND id = ?2;

-- [note_call] Notes a settle call. ?1 key, ?2 number, ?3 lost tokens, ?4 now
UPDATE consumers SET settle_number = ?2, settle_lost = ?3, settled_at = ?4 WHERE key = ?1;

-- [held] Of these jobs, those that the consumer holds. ?1 consumer, ?2 keys (carray)
SELECT key, token, queue, cancel_ttl_s FROM jobs
WHERE key IN carray(?2) AND state = 'running' AND consumer = ?1;

-- [find] A job that a consumer holds, by its id. ?1 namespace, ?2 queue's name, ?3 id
SELECT j.key FROM queues AS q JOIN jobs AS j ON j.queue = q.key
WHERE q.namespace = ?1 AND q.name = ?2 AND j.id = ?3;

-- [delete] Removes jobs without a trace. ?1 keys (carray)
DELETE FROM jobs WHERE key IN carray(?1);

-- [delete_bodies] Their bodies. ?1 keys (carray)
DELETE FROM bodies WHERE job IN carray(?1);

-- [end] A job has ended, and is kept for a while.
-- ?1 state, ?2 now, ?3 forget at, ?4 cause, ?5 error, ?6 result, ?7 attempts spent, ?8 key
UPDATE jobs SET state = ?1, ended_at = ?2, forget_at = ?3, cause = ?4, error = ?5, result = ?6,
  attempt = attempt + ?7, consumer = NULL, cancel_ttl_s = NULL
WHERE key = ?8;

-- [cancel] A job ends as cancelled, with its last error as it is.
-- ?1 now, ?2 forget at, ?3 attempts spent, ?4 crashes to add, ?5 key
UPDATE jobs SET state = 'cancelled', ended_at = ?1, forget_at = ?2, attempt = attempt + ?3, crashes = crashes + ?4,
  consumer = NULL, cancel_ttl_s = NULL
WHERE key = ?5;

-- [put_off] A job runs again later. ?1 place, ?2 due at, ?3 error, ?4 attempts spent, ?5 streak, ?6 key
UPDATE jobs SET state = 'scheduled', place = ?1, due_at = ?2, error = ?3, attempt = attempt + ?4, streak = ?5,
  suspect = 0, started = 0, consumer = NULL
WHERE key = ?6;

-- [give_back] A job is ready again. ?1 place, ?2 crashes to add, ?3 suspect (NULL: as it is), ?4 key
UPDATE jobs SET state = 'ready', place = ?1, crashes = crashes + ?2, suspect = coalesce(?3, suspect),
  started = 0, consumer = NULL
WHERE key = ?4;
