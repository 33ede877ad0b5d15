-- Claiming jobs.

-- [look] Whether a queue has something to claim, and when the next job is due; reads only.
-- ?1 namespace, ?2 name, ?3 0 where suspects do not count
SELECT
  EXISTS (SELECT 1 FROM jobs WHERE queue = q.key AND state = 'ready' AND suspect = 0)
    OR (?3 AND EXISTS (SELECT 1 FROM jobs WHERE queue = q.key AND state = 'ready' AND suspect = 1)),
  (SELECT due_at FROM jobs WHERE queue = q.key AND state = 'scheduled' ORDER BY due_at LIMIT 1)
FROM queues AS q WHERE namespace = ?1 AND name = ?2 AND paused = 0;

-- [paused] The queues from which nothing may be claimed. ?1 namespace
SELECT key FROM queues WHERE namespace = ?1 AND paused = 1;

-- [due] What is due, in the order of its moments. ?1 queue, ?2 now, ?3 limit
SELECT key FROM jobs WHERE queue = ?1 AND state = 'scheduled' AND due_at <= ?2 ORDER BY due_at, place LIMIT ?3;

-- [promote] A scheduled job that is due goes behind what is ready. ?1 place, ?2 key
UPDATE jobs SET state = 'ready', place = ?1 WHERE key = ?2;

-- [ready] The head of a line, by priority and age. The body comes last: it is read only where it is taken.
-- ?1 queue, ?2 limit
SELECT key, id, attempt, crashes, streak, suspect, priority, retried_at, expires_at, body
FROM jobs CROSS JOIN bodies ON job = key
WHERE queue = ?1 AND state = 'ready' AND suspect = 0 ORDER BY priority DESC, place LIMIT ?2;

-- [suspects] The same of those that were lost with a worker, by age alone. ?1 queue, ?2 limit
SELECT key, id, attempt, crashes, streak, suspect, priority, retried_at, expires_at, body
FROM jobs CROSS JOIN bodies ON job = key
WHERE queue = ?1 AND state = 'ready' AND suspect = 1 ORDER BY place LIMIT ?2;

-- [claim] Jobs are held now, under tokens in the order of their keys here. ?1 first token, ?2 consumer, ?3 keys (carray)
UPDATE jobs SET state = 'running', token = ?1 + c.rowid - 1, consumer = ?2, started = 0
FROM carray(?3) AS c WHERE key = c.value;

-- [expire] A job that was not started in time. ?1 now, ?2 forget at, ?3 key
UPDATE jobs SET state = 'expired', ended_at = ?1, forget_at = ?2 WHERE key = ?3;

-- [next_due] When the next scheduled job of a queue is due. ?1 queue
SELECT due_at FROM jobs WHERE queue = ?1 AND state = 'scheduled' ORDER BY due_at LIMIT 1;

-- [left] Whether a queue has something left to claim. ?1 queue
SELECT 1 FROM jobs WHERE queue = ?1 AND state = 'ready' AND suspect = 0
UNION ALL
SELECT 1 FROM jobs WHERE queue = ?1 AND state = 'ready' AND suspect = 1 LIMIT 1;
