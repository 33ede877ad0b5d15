-- What a file of an older version lacks; each part makes the version in its name out of the one before it.

-- [to_2] Queues that are paused.
ALTER TABLE queues ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
CREATE INDEX queues_paused ON queues (namespace) WHERE paused = 1;
