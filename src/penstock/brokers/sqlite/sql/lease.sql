-- Consumers and their leases.

-- [renew] A consumer's lease, made where there is none; answers its key.
-- ?1 namespace, ?2 id, ?3 lease until, ?4 card
INSERT INTO consumers (namespace, id, lease_until, card) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (namespace, id) DO UPDATE SET lease_until = excluded.lease_until, card = excluded.card
RETURNING key;

-- [keep] As renew, but a lease is left as it is and none is made: only the row to note a settle in.
-- ?1 namespace, ?2 id, ?3 card
INSERT INTO consumers (namespace, id, lease_until, card) VALUES (?1, ?2, NULL, ?3) RETURNING key;

-- [extend] Renews a lease from outside, where there is one. ?1 namespace, ?2 id, ?3 lease until
UPDATE consumers SET lease_until = ?3 WHERE namespace = ?1 AND id = ?2 AND lease_until IS NOT NULL;

-- [end] A lease is given back. ?1 key
UPDATE consumers SET lease_until = NULL WHERE key = ?1;

-- [key] A consumer's key. ?1 namespace, ?2 id
SELECT key FROM consumers WHERE namespace = ?1 AND id = ?2;

-- [start] A delivery is about to run. ?1 token, ?2 consumer, ?3 key
UPDATE jobs SET started = 1 WHERE key = ?3 AND state = 'running' AND token = ?1 AND consumer = ?2;

-- [progress] How far a delivery has come. ?1 token, ?2 consumer, ?3 key, ?4 data
UPDATE jobs SET progress = ?4 WHERE key = ?3 AND state = 'running' AND token = ?1 AND consumer = ?2;

-- [answer] A command was carried out. ?1 namespace, ?2 id, ?3 text, ?4 expires at
UPDATE commands SET answer = ?3, expires_at = ?4 WHERE namespace = ?1 AND id = ?2;

-- [commands] Commands to a worker that are neither answered nor over, oldest first. ?1 namespace, ?2 worker, ?3 now
SELECT id, verb FROM commands
WHERE namespace = ?1 AND worker = ?2 AND answer IS NULL AND expires_at > ?3 ORDER BY key;

-- [cancelling] The tokens of what a consumer holds and what is to be cancelled. ?1 consumer
SELECT token FROM jobs WHERE consumer = ?1 AND state = 'running' AND cancel_ttl_s IS NOT NULL;

-- [holds] What a consumer holds of a queue, in the order of the claims. ?1 queue, ?2 consumer
SELECT key, token, cancel_ttl_s FROM jobs WHERE queue = ?1 AND state = 'running' AND consumer = ?2 ORDER BY token;
