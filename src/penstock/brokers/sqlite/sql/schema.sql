-- The tables of a Penstock file, version 2 (in user_version). Moments are seconds since the epoch.
-- One statement after the other; run once, in one transaction, in a file that is empty. A file of an older version gets
-- what it lacks from upgrade.sql.

-- Numbers are drawn once and never again, whatever is deleted: of jobs, tokens and consumers, and places in a line.
-- `front` falls where a job goes to the front, so that it stands before all others.
CREATE TABLE numbers (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  last INTEGER NOT NULL,
  front INTEGER NOT NULL
);

INSERT INTO numbers (one, last, front) VALUES (1, 0, 0);

-- A queue of a namespace, with its counts: kept in the transaction that moves a job, so that nobody has to count.
CREATE TABLE queues (
  key INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  scheduled INTEGER NOT NULL DEFAULT 0,
  ready INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  quarantined INTEGER NOT NULL DEFAULT 0,
  enqueued_total INTEGER NOT NULL DEFAULT 0,
  succeeded_total INTEGER NOT NULL DEFAULT 0,
  failed_total INTEGER NOT NULL DEFAULT 0,
  lost_total INTEGER NOT NULL DEFAULT 0,
  -- 1: nothing may be claimed.
  paused INTEGER NOT NULL DEFAULT 0,
  -- The witness: when maintenance last looked, and until when it reclaims nothing.
  seen_at REAL,
  patient_until REAL NOT NULL DEFAULT 0,
  UNIQUE (namespace, name)
);

-- All that changes of a job. The body lies apart, so that a change of state does not write it again.
CREATE TABLE jobs (
  key INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  id TEXT NOT NULL,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  place INTEGER NOT NULL,
  due_at REAL NOT NULL,
  expires_at REAL,
  attempt INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  streak INTEGER NOT NULL DEFAULT 0,
  suspect INTEGER NOT NULL DEFAULT 0,
  started INTEGER NOT NULL DEFAULT 0,
  token INTEGER NOT NULL DEFAULT 0,
  consumer INTEGER,
  cancel_ttl_s REAL,
  retried_at REAL NOT NULL DEFAULT 0,
  ended_at REAL NOT NULL DEFAULT 0,
  forget_at REAL,
  cause TEXT NOT NULL DEFAULT '',
  error BLOB,
  result BLOB,
  progress BLOB
);

CREATE TABLE bodies (job INTEGER PRIMARY KEY, body BLOB NOT NULL);

-- Mostly empty: one look tells that no queue is paused.
CREATE INDEX queues_paused ON queues (namespace) WHERE paused = 1;

CREATE UNIQUE INDEX jobs_id ON jobs (queue, id);
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, place) WHERE state = 'ready' AND suspect = 0;
CREATE INDEX jobs_suspect ON jobs (queue, place) WHERE state = 'ready' AND suspect = 1;
CREATE INDEX jobs_scheduled ON jobs (queue, due_at, place) WHERE state = 'scheduled';
CREATE INDEX jobs_running ON jobs (queue, token) WHERE state = 'running';
CREATE INDEX jobs_cancelling ON jobs (consumer) WHERE state = 'running' AND cancel_ttl_s IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (queue, ended_at, key) WHERE state = 'failed';
CREATE INDEX jobs_quarantined ON jobs (queue, ended_at, key) WHERE state = 'quarantined';
CREATE INDEX jobs_expiring ON jobs (queue, expires_at)
  WHERE expires_at IS NOT NULL AND state IN ('ready', 'scheduled');
CREATE INDEX jobs_forget ON jobs (queue, forget_at) WHERE forget_at IS NOT NULL;

-- A worker's claim on queues. Its jobs name it by `key`; a lease that was given back has a `lease_until` of NULL.
CREATE TABLE consumers (
  key INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  id TEXT NOT NULL,
  lease_until REAL,
  card BLOB NOT NULL,
  -- The last settle call: its number, the tokens that it found lost, when.
  settle_number INTEGER,
  settle_lost BLOB,
  settled_at REAL NOT NULL DEFAULT 0,
  UNIQUE (namespace, id)
);

-- The last enqueue call of each producer and queue; `left_out` holds a byte a job where one was stored already.
CREATE TABLE producers (
  producer TEXT NOT NULL,
  queue INTEGER NOT NULL,
  number INTEGER NOT NULL,
  left_out BLOB,
  called_at REAL NOT NULL,
  PRIMARY KEY (producer, queue)
) WITHOUT ROWID;

CREATE INDEX producers_called ON producers (called_at);

-- Orders to workers, and their answers.
CREATE TABLE commands (
  key INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  worker TEXT NOT NULL,
  verb TEXT NOT NULL,
  expires_at REAL NOT NULL,
  answer TEXT
);

CREATE INDEX commands_worker ON commands (namespace, worker);

-- Consumers that found nothing and wait; `bell` is the socket of their process.
CREATE TABLE waiting (
  queue INTEGER NOT NULL,
  consumer INTEGER NOT NULL,
  bell TEXT NOT NULL,
  PRIMARY KEY (queue, consumer)
) WITHOUT ROWID;

CREATE INDEX waiting_consumer ON waiting (consumer);
CREATE INDEX waiting_bell ON waiting (bell);

-- Processes that wait for a job to end.
CREATE TABLE watching (
  job INTEGER NOT NULL,
  bell TEXT NOT NULL,
  until REAL NOT NULL,
  PRIMARY KEY (job, bell)
) WITHOUT ROWID;

CREATE INDEX watching_bell ON watching (bell);
