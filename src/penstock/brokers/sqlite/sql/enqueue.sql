-- Storing jobs.

-- [last_call] A producer's last call for a queue, unless it is forgotten. ?1 producer, ?2 queue, ?3 since when
SELECT number, left_out FROM producers WHERE producer = ?1 AND queue = ?2 AND called_at >= ?3;

-- [note_call] Notes a producer's call. ?1 producer, ?2 queue, ?3 number, ?4 left out, ?5 now
INSERT INTO producers (producer, queue, number, left_out, called_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (producer, queue) DO UPDATE
SET number = excluded.number, left_out = excluded.left_out, called_at = excluded.called_at;

-- [next_due] When the next scheduled job of a queue is due. ?1 queue
SELECT due_at FROM jobs WHERE queue = ?1 AND state = 'scheduled' ORDER BY due_at LIMIT 1;

-- [add_job] Stores a job, unless its id is taken; its key is its place in line too: it stands behind all others.
-- ?1 key, ?2 queue, ?3 id, ?4 state, ?5 priority, ?6 due at, ?7 expires at
INSERT OR IGNORE INTO jobs (key, queue, id, state, priority, place, due_at, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?1, ?6, ?7);

-- [add_body] Stores a job's body. ?1 key, ?2 body
INSERT INTO bodies (job, body) VALUES (?1, ?2);

-- [forgotten] The keys of jobs whose time is up, though nobody has pruned them, and whose ids are wanted anew.
-- ?1 queue, ?2 now, ?3 ids (carray)
SELECT key FROM jobs INDEXED BY jobs_id WHERE queue = ?1 AND id IN carray(?3) AND forget_at <= ?2;

-- [added] Which keys of a range were stored. ?1 first, ?2 last
SELECT key FROM jobs WHERE key BETWEEN ?1 AND ?2;
