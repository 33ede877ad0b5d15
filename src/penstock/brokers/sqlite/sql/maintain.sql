-- Maintenance of a queue, and of what belongs to none.

-- [witness] When maintenance last looked at a queue, until when it reclaims nothing, and what is dead. ?1 queue
SELECT seen_at, patient_until, failed + quarantined FROM queues WHERE key = ?1;

-- [note_witness] It looks now. ?1 queue, ?2 now, ?3 patient until
UPDATE queues SET seen_at = ?2, patient_until = ?3 WHERE key = ?1;

-- [shorten_leases] The clock went back: so far are leases put back that end later than one given now. ?1 namespace,
-- ?2 when a lease given now ends, ?3 seconds of the step
UPDATE consumers SET lease_until = max(?2, lease_until - ?3) WHERE namespace = ?1 AND lease_until > ?2;

-- [expired] What was not started in time. ?1 queue, ?2 now, ?3 limit
SELECT key, state FROM jobs
WHERE queue = ?1 AND expires_at <= ?2 AND expires_at IS NOT NULL AND state IN ('ready', 'scheduled')
ORDER BY expires_at LIMIT ?3;

-- [lost] What consumers hold whose lease is over or gone, the latest claims first: each round puts its jobs before
-- those of the last, and so all end up in the order of the claims. ?1 queue, ?2 now, ?3 limit
SELECT j.key, j.token, j.cancel_ttl_s, j.started
FROM jobs AS j LEFT JOIN consumers AS c ON c.key = j.consumer
WHERE j.queue = ?1 AND j.state = 'running' AND (c.lease_until IS NULL OR c.lease_until <= ?2)
ORDER BY j.token DESC LIMIT ?3;

-- [raise_token] A reclaimed job gets a token that nobody has. ?1 token, ?2 key
UPDATE jobs SET token = ?1 WHERE key = ?2;

-- [over] What is not kept any longer. ?1 queue, ?2 now, ?3 limit
SELECT key, state FROM jobs WHERE queue = ?1 AND forget_at <= ?2 ORDER BY forget_at LIMIT ?3;

-- [oldest_dead] The dead that have been dead for longest. ?1 queue, ?2 limit
SELECT key, state FROM (
  SELECT * FROM (
    SELECT key, state, ended_at FROM jobs WHERE queue = ?1 AND state = 'failed' ORDER BY ended_at, key LIMIT ?2
  )
  UNION ALL
  SELECT * FROM (
    SELECT key, state, ended_at FROM jobs WHERE queue = ?1 AND state = 'quarantined' ORDER BY ended_at, key LIMIT ?2
  )
)
ORDER BY ended_at, key LIMIT ?2;

-- [old_producers] Calls that nobody will repeat. ?1 since when, ?2 limit
DELETE FROM producers WHERE (producer, queue) IN (
  SELECT producer, queue FROM producers WHERE called_at < ?1 ORDER BY called_at LIMIT ?2
);

-- [end_leases] Leases that are over and of consumers that hold nothing. ?1 now
UPDATE consumers SET lease_until = NULL
WHERE lease_until <= ?1
  AND key NOT IN (SELECT consumer FROM jobs INDEXED BY jobs_running WHERE state = 'running');

-- [old_consumers] Consumers without a lease whose last settle nobody will repeat. ?1 since when
DELETE FROM consumers
WHERE lease_until IS NULL AND settled_at < ?1
  AND key NOT IN (SELECT consumer FROM jobs INDEXED BY jobs_running WHERE state = 'running');

-- [old_commands] Orders and answers that are over. ?1 now
DELETE FROM commands WHERE expires_at <= ?1;

-- [old_waiting] Those who wait no more, because they are gone. ?1 now
DELETE FROM waiting WHERE consumer NOT IN (SELECT key FROM consumers WHERE lease_until > ?1);

-- [old_watching] Waits that are over. ?1 now
DELETE FROM watching WHERE until <= ?1;
