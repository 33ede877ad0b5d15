-- Who waits for what.

-- [waiting] Bells of consumers that wait for a queue, but for one; none where it is paused.
-- ?1 queue, ?2 consumer that is not meant
SELECT bell, consumer FROM waiting
WHERE queue = ?1 AND consumer <> ?2 AND (SELECT paused FROM queues WHERE key = ?1) = 0 LIMIT 8;

-- [wait] A consumer found nothing and waits. ?1 queue, ?2 consumer, ?3 bell
INSERT OR REPLACE INTO waiting (queue, consumer, bell) VALUES (?1, ?2, ?3);

-- [stop_waiting] It waits no more. ?1 consumer
DELETE FROM waiting WHERE consumer = ?1;

-- [any_watching] Whether anybody waits for the end of a job.
SELECT 1 FROM watching LIMIT 1;

-- [watching] Who waits for the end of these jobs. ?1 keys (carray)
SELECT bell, job FROM watching WHERE job IN carray(?1);

-- [watch] A process waits for the end of a job. ?1 key, ?2 bell, ?3 until
INSERT INTO watching (job, bell, until) VALUES (?1, ?2, ?3)
ON CONFLICT (job, bell) DO UPDATE SET until = max(until, excluded.until);

-- [stop_watching] Nobody has to be told of these jobs any more. ?1 keys (carray)
DELETE FROM watching WHERE job IN carray(?1);

-- [silent_waiting] Nobody hears this bell. ?1 bell
DELETE FROM waiting WHERE bell = ?1;

-- [silent_watching] Nobody hears this bell. ?1 bell
DELETE FROM watching WHERE bell = ?1;
