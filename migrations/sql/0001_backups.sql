-- What became of backups: the metric of their age is read from here. Written by whoever makes or verifies one.

CREATE TABLE backups (
  name text PRIMARY KEY,
  kind text NOT NULL DEFAULT 'dump' CHECK (kind IN ('dump', 'base', 'log')), -- 'log': since when it is received without a gap
  begun_at timestamptz NOT NULL,
  bytes bigint,
  rows bigint,
  verified_at timestamptz, -- when a restore into a scratch cluster has proved it
  error text -- why it was not made, or not proved, at the last try
);

GRANT SELECT, INSERT, UPDATE, DELETE ON backups TO quantum_system;
