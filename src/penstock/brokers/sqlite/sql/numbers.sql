-- Queues, their counts, and numbers.

-- [queue] The key of a queue. ?1 namespace, ?2 name
SELECT key FROM queues WHERE namespace = ?1 AND name = ?2;

-- [add_queue] A queue that is new. ?1 namespace, ?2 name
INSERT INTO queues (namespace, name) VALUES (?1, ?2) RETURNING key;

-- [draw] Draws ?1 numbers; answers the last of them.
UPDATE numbers SET last = last + ?1 RETURNING last;

-- [draw_front] Draws ?1 places before all others; answers the first of them.
UPDATE numbers SET front = front - ?1 RETURNING front;

-- [count] Counts what moved in a queue.
-- ?1 queue, ?2 scheduled, ?3 ready, ?4 running, ?5 failed, ?6 quarantined, and in total: ?7 enqueued, ?8 succeeded,
-- ?9 failed, ?10 lost
UPDATE queues SET scheduled = scheduled + ?2, ready = ready + ?3, running = running + ?4, failed = failed + ?5,
  quarantined = quarantined + ?6, enqueued_total = enqueued_total + ?7, succeeded_total = succeeded_total + ?8,
  failed_total = failed_total + ?9, lost_total = lost_total + ?10
WHERE key = ?1;
