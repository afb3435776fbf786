-- Relations of the spine. Every tenant relation's primary key begins with tenant_id; foreign keys carry the tenant,
-- so that a row can never point into another tenant. Log-like relations (events, audit) have no foreign keys: they
-- outlive what they tell of, and a key-share lock on one tenants row by every writer would cost multixacts.

-- Time-ordered identifiers for rows the database makes itself; version 7 of RFC 9562. They have to be unique, not
-- secret, so the session's own generator does: gen_random_uuid() asks the kernel, which costs as much as an insert.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL RESTRICTED AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
    || to_hex(28672 + floor(random() * 4096)::integer) || to_hex(32768 + floor(random() * 16384)::integer)
    || lpad(to_hex(floor(random() * 281474976710656)::bigint), 12, '0'))::uuid
$$;

-- States and their like are text with a check, as domains: a CHECK of the relation would be parsed anew by every statement that
-- writes a row, the check of a domain is kept by the session. The transitions are enforced by triggers.
CREATE DOMAIN run_state AS text CHECK (VALUE IN ('awaiting_approval', 'queued', 'running', 'pausing', 'paused',
  'cancelling', 'compensating', 'succeeded', 'failed', 'cancelled', 'superseded'));
CREATE DOMAIN step_state AS text CHECK (VALUE IN ('pending', 'ready', 'running', 'waiting', 'succeeded', 'failed',
  'skipped', 'cancelled', 'compensating', 'compensated'));
CREATE DOMAIN intent_phase AS text CHECK (VALUE IN ('pending', 'running', 'succeeded', 'failed', 'cancelled'));
CREATE DOMAIN work_mode AS text CHECK (VALUE IN ('job', 'state'));
CREATE DOMAIN audit_outcome AS text CHECK (VALUE IN ('ok', 'refused', 'failed'));
CREATE DOMAIN shard_number AS smallint CHECK (VALUE BETWEEN 0 AND 7);
CREATE DOMAIN step_count AS integer CHECK (VALUE >= 0);
CREATE DOMAIN compensation_state AS text CHECK (VALUE IN ('wanted', 'running', 'complete', 'failed'));
CREATE DOMAIN request_key AS text CHECK (length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN attempt_state AS text CHECK (VALUE IN ('succeeded', 'failed', 'skipped', 'retry', 'cancelled',
  'killed'));

CREATE TABLE tenants (
  id uuid PRIMARY KEY,
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{1,62}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
  settings jsonb NOT NULL DEFAULT '{}',
  version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE roles (
  name text PRIMARY KEY,
  description text NOT NULL
);

-- People and their sessions.
CREATE TABLE users (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  email text NOT NULL CHECK (email = lower(email) AND length(email) <= 320),
  password_hash text NOT NULL,
  display_name text NOT NULL DEFAULT '',
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
  version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, email)
);

CREATE TABLE user_roles (
  tenant_id uuid NOT NULL,
  user_id uuid NOT NULL,
  role text NOT NULL REFERENCES roles,
  PRIMARY KEY (tenant_id, user_id, role),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
);

-- A family is one sign-in; each use of its refresh token replaces current_hash, a second use of an old one revokes it.
CREATE TABLE refresh_families (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  user_id uuid NOT NULL,
  current_hash text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  used_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- of a user with too many, the one unused longest goes
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX refresh_families_user ON refresh_families (tenant_id, user_id);
CREATE INDEX refresh_families_expiry ON refresh_families (expires_at);

-- Counted before a tenant is known, so global; the key is a hash made by the service.
CREATE TABLE sign_in_failures (
  key text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX sign_in_failures_key ON sign_in_failures (key, at);
CREATE INDEX sign_in_failures_at ON sign_in_failures (at);

-- What can be run: immutable definitions.
CREATE TABLE modules (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  name text NOT NULL,
  version text NOT NULL,
  manifest jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by uuid,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name, version)
);

CREATE TABLE intent_types (
  tenant_id uuid NOT NULL REFERENCES tenants,
  name text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  mode text NOT NULL CHECK (mode IN ('job', 'state')),
  description text NOT NULL DEFAULT '',
  spec_schema jsonb NOT NULL,
  workflow_name text NOT NULL,
  workflow_version integer NOT NULL,
  module text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, name, version)
);

CREATE TABLE workflows (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  name text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  document jsonb NOT NULL,
  plan_hash text NOT NULL,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name, version)
);

CREATE TABLE plans (
  tenant_id uuid NOT NULL REFERENCES tenants,
  hash text NOT NULL,
  document jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, hash)
);

-- One row per base step: a run's steps are copied from here by SQL, so no payload travels at submit.
CREATE TABLE plan_steps (
  tenant_id uuid NOT NULL,
  plan_hash text NOT NULL,
  base text NOT NULL,
  seq integer NOT NULL,
  needs text[] NOT NULL,
  successors text[] NOT NULL,
  is_fan boolean NOT NULL,
  operation text NOT NULL,
  queue text NOT NULL,
  soft_timeout integer NOT NULL,
  continue_on_failure boolean NOT NULL,
  definition jsonb NOT NULL,
  first_carrier integer,
  successors_on text[], -- which outcome each successor needs; null when the whole plan needs success only
  undoes text, -- a compensation: laid down when that base step is to be undone, not when the run starts
  PRIMARY KEY (tenant_id, plan_hash, base),
  FOREIGN KEY (tenant_id, plan_hash) REFERENCES plans ON DELETE CASCADE
);

-- What a tenant declared.
CREATE TABLE intents (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  type_name text NOT NULL,
  type_version integer NOT NULL,
  name text,
  mode work_mode NOT NULL,
  generation integer NOT NULL DEFAULT 1,
  observed_generation integer NOT NULL DEFAULT 0,
  phase intent_phase NOT NULL DEFAULT 'pending',
  priority smallint NOT NULL DEFAULT 0,
  event_seq integer NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 1,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 80);
-- Lists are ordered by id, which is ordered by time (UUIDv7).
CREATE INDEX intents_phase ON intents (tenant_id, phase, id);
CREATE INDEX intents_type ON intents (tenant_id, type_name, id);
-- While a table is empty all its indexes seem equally good, and the planner takes the youngest. A session keeps the
-- plans it makes then, so the primary key is made last, here and below.
ALTER TABLE intents ADD PRIMARY KEY (tenant_id, id);

CREATE TABLE intent_generations (
  tenant_id uuid NOT NULL,
  intent_id uuid NOT NULL,
  generation integer NOT NULL,
  spec jsonb NOT NULL,
  spec_hash text NOT NULL,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, intent_id, generation),
  FOREIGN KEY (tenant_id, intent_id) REFERENCES intents ON DELETE CASCADE
);

-- Rows, not jsonb: containment is not leakproof, so under RLS its index would go unused.
CREATE TABLE intent_labels (
  tenant_id uuid NOT NULL,
  intent_id uuid NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 63),
  value text NOT NULL CHECK (length(value) <= 255),
  PRIMARY KEY (tenant_id, intent_id, key),
  FOREIGN KEY (tenant_id, intent_id) REFERENCES intents ON DELETE CASCADE
);
CREATE INDEX intent_labels_pair ON intent_labels (tenant_id, key, value, intent_id);

-- The counters change with every step and stand in no index, so those updates stay within the page.
CREATE TABLE runs (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  intent_id uuid NOT NULL,
  generation integer NOT NULL,
  type_name text NOT NULL,
  plan_hash text NOT NULL, -- no foreign key: all runs of a workflow would lock one row; start_runs looks it up
  workflow_name text NOT NULL,
  workflow_version integer NOT NULL,
  state run_state NOT NULL DEFAULT 'queued',
  priority smallint NOT NULL DEFAULT 0,
  pool text NOT NULL DEFAULT '', -- the queue whose room it waits for: that of its first operation
  admitted_at timestamptz, -- since when it holds a place; null while it waits, and once it rests
  concurrency_key text, -- under which no more than key_limit runs of the tenant are under way
  key_limit integer,
  held_by_key boolean NOT NULL DEFAULT false, -- it has no place under its key yet
  held_steps integer, -- ready steps without a place under the tenant's limit at the last look; null: no such limit
  open_steps integer NOT NULL,
  failed_steps integer NOT NULL DEFAULT 0,
  event_seq integer NOT NULL DEFAULT 0,
  round integer NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 1,
  error jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  -- A sub-workflow's run: whose step it is, in which of the step's tries, how deep; null for the run of an intent.
  parent_run_id uuid,
  parent_step text,
  parent_try integer,
  depth smallint NOT NULL DEFAULT 0,
  paused_by_parent boolean NOT NULL DEFAULT false,
  spec jsonb, -- its own; null: that of the intent's generation
  trace text, -- the W3C traceparent of what started it
  deadline_s double precision,
  queue_timeout_s double precision,
  deadline_at timestamptz,
  begin_by timestamptz,
  compensation compensation_state,
  due_at timestamptz, -- when a limit is looked at next; null for most runs, for all that have ended
  FOREIGN KEY (tenant_id, intent_id, generation) REFERENCES intent_generations
) WITH (fillfactor = 60);
CREATE INDEX runs_state ON runs (tenant_id, state, id);
CREATE INDEX runs_type ON runs (tenant_id, type_name, id);
CREATE INDEX runs_intent ON runs (tenant_id, intent_id, id);
CREATE UNIQUE INDEX runs_child ON runs (tenant_id, parent_run_id, parent_step, parent_try)
  WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_children ON runs (tenant_id, parent_run_id, id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_children_open ON runs (tenant_id, parent_run_id) WHERE parent_run_id IS NOT NULL
  AND state || '' NOT IN ('succeeded', 'failed', 'cancelled', 'superseded');
-- Who waits for admission, in the order of its tenant; who holds a place.
CREATE INDEX runs_waiting ON runs (tenant_id, pool, priority DESC, id)
  WHERE admitted_at IS NULL AND NOT held_by_key AND state || '' IN ('queued', 'running');
CREATE INDEX runs_admitted ON runs (tenant_id)
  WHERE parent_run_id IS NULL AND admitted_at IS NOT NULL
  AND state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating');
CREATE INDEX runs_keyed ON runs (tenant_id, concurrency_key, held_by_key, priority DESC, id)
  WHERE concurrency_key IS NOT NULL AND state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating');
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;
ALTER TABLE runs ADD PRIMARY KEY (tenant_id, id);
ALTER TABLE runs ADD FOREIGN KEY (tenant_id, parent_run_id) REFERENCES runs;

CREATE TABLE run_steps (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  key text NOT NULL,
  base text NOT NULL,
  item integer,
  seq integer NOT NULL,
  state step_state NOT NULL,
  needs_left step_count NOT NULL,
  successors text[] NOT NULL,
  successors_on text[],
  is_fan boolean NOT NULL,
  operation text NOT NULL,
  queue text NOT NULL,
  continue_on_failure boolean NOT NULL,
  sent_at timestamptz,
  ready_at timestamptz,
  dispatch_epoch integer NOT NULL DEFAULT 0,
  carrier integer,
  broker_epoch text,
  lot uuid, -- the siblings that were dealt out together, see 0001_lots.sql
  loose boolean NOT NULL DEFAULT false, -- sent without a message of its own
  attempt integer NOT NULL DEFAULT 0,
  round integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  kills integer NOT NULL DEFAULT 0,
  lease_boot uuid,
  lease_pid integer,
  lease_born bigint,
  worker text,
  not_before timestamptz,
  item_value jsonb,
  undoes text, -- the key of the step that this one compensates
  input jsonb,
  output jsonb,
  error jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
-- An item exists once, whoever expands its fan.
CREATE UNIQUE INDEX run_steps_item ON run_steps (tenant_id, run_id, base, item) WHERE item IS NOT NULL;
-- The work lists of dispatcher, recovery, heartbeat: each holds only the rows that wait for it. Their conditions say
-- state || '' so that only the statements that mean to use them can: a claim looks up one row by its key, and must
-- never get a plan that reads a list that was short when the plan was made.
CREATE INDEX run_steps_unsent ON run_steps (ready_at, tenant_id, run_id)
  WHERE state || '' = 'ready' AND sent_at IS NULL;
-- What `advance` sends next of one run, and the items of one fan that wait for a place: neither may read the whole run.
CREATE INDEX run_steps_next ON run_steps (tenant_id, run_id, seq, item)
  WHERE state || '' = 'ready' AND sent_at IS NULL;
CREATE INDEX run_steps_placeless ON run_steps (tenant_id, run_id, base, item)
  WHERE state || '' = 'pending' AND item IS NOT NULL;
CREATE INDEX run_steps_sent ON run_steps (tenant_id, queue, ready_at)
  WHERE state || '' = 'ready' AND sent_at IS NOT NULL;
CREATE INDEX run_steps_leased ON run_steps (lease_boot, lease_pid) WHERE state || '' = 'running';
CREATE INDEX run_steps_due ON run_steps (not_before) WHERE state || '' = 'waiting' AND not_before IS NOT NULL;
CREATE INDEX run_steps_calling ON run_steps (tenant_id, run_id, key)
  WHERE operation = 'workflow' AND state || '' = 'waiting' AND NOT is_fan;
-- What a canvas still carries, for the moment it breaks: an item of a wide fan must not search its whole run for it.
CREATE INDEX run_steps_carried ON run_steps (tenant_id, run_id, carrier)
  WHERE state || '' = 'pending' AND sent_at IS NOT NULL;
-- What a message of a lot may take along; and who takes it along, now or as soon as its message comes.
CREATE INDEX run_steps_loose ON run_steps (tenant_id, run_id, lot, seq, item)
  WHERE loose AND state || '' = 'ready' AND sent_at IS NOT NULL;
CREATE INDEX run_steps_tending ON run_steps (tenant_id, run_id, lot)
  WHERE lot IS NOT NULL AND (state || '' = 'running' OR NOT loose AND state || '' = 'ready' AND sent_at IS NOT NULL);
-- What waits for an operator, the latest first.
CREATE INDEX run_steps_parked ON run_steps (tenant_id, finished_at, run_id, key)
  WHERE state || '' = 'failed' AND NOT continue_on_failure;
ALTER TABLE run_steps ADD PRIMARY KEY (tenant_id, run_id, key);

-- What people or other systems told a run. A signal is consumed by one wait, in order; a decision belongs to the
-- round of the wait it was made for, and nobody decides twice.
CREATE TABLE run_signals (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  seq integer NOT NULL,
  name text NOT NULL,
  payload jsonb,
  decision text CHECK (decision IN ('approve', 'reject')),
  reason text,
  sent_by jsonb NOT NULL,
  user_id uuid,
  step_key text,
  round integer,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, run_id, seq),
  FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE,
  CHECK (decision IS NULL OR (user_id IS NOT NULL AND step_key IS NOT NULL AND round IS NOT NULL))
);
CREATE UNIQUE INDEX run_signals_vote ON run_signals (tenant_id, run_id, step_key, round, user_id)
  WHERE decision IS NOT NULL;
CREATE INDEX run_signals_kept ON run_signals (tenant_id, run_id, name, seq) WHERE step_key IS NULL;

-- Written when an attempt ends, lost ones included; a running attempt is in its step's row.
CREATE TABLE step_attempts (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  key text NOT NULL,
  tries integer NOT NULL,
  attempt integer NOT NULL,
  round integer NOT NULL,
  state attempt_state NOT NULL,
  boot uuid,
  pid integer,
  worker text,
  error jsonb,
  started_at timestamptz,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, run_id, key, tries),
  FOREIGN KEY (tenant_id, run_id, key) REFERENCES run_steps ON DELETE CASCADE
);

-- The outbox. seq is taken under the aggregate's row lock; position is given later, to committed rows only.
CREATE TABLE events (
  tenant_id uuid NOT NULL,
  subject text NOT NULL,
  seq integer NOT NULL,
  id uuid NOT NULL DEFAULT uuid_v7(),
  type text NOT NULL,
  data jsonb NOT NULL,
  actor jsonb,
  trace text, -- that of its run, where that is sampled
  shard shard_number NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  position bigint
) WITH (fillfactor = 80);
CREATE INDEX events_unnumbered ON events (created_at) WHERE position IS NULL;
CREATE INDEX events_feed ON events (tenant_id, position) WHERE position IS NOT NULL;
CREATE UNIQUE INDEX events_shard ON events (shard, position) WHERE position IS NOT NULL;
ALTER TABLE events ADD PRIMARY KEY (tenant_id, subject, seq);
CREATE SEQUENCE event_positions;

CREATE TABLE dead_events (
  tenant_id uuid NOT NULL,
  sink text NOT NULL,
  subject text NOT NULL,
  seq integer NOT NULL,
  event_id uuid NOT NULL,
  position bigint NOT NULL,
  attempts integer NOT NULL,
  error text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, sink, subject, seq)
);

CREATE TABLE audit_records (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL DEFAULT uuid_v7(),
  actor jsonb NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  outcome audit_outcome NOT NULL DEFAULT 'ok',
  detail jsonb NOT NULL DEFAULT '{}',
  request_id text,
  source_ip text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seal integer, -- the link of the tenant's chain that vouches for this record; given once, soon after its commit
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX audit_records_action ON audit_records (tenant_id, action, id);
CREATE INDEX audit_records_subject ON audit_records (tenant_id, subject, id);
CREATE INDEX audit_records_seal ON audit_records (tenant_id, seal);

-- The chain: each seal authenticates its records and the seal before it, under a key that is not in the database.
CREATE TABLE audit_seals (
  tenant_id uuid NOT NULL,
  seq integer NOT NULL CHECK (seq > 0),
  records integer NOT NULL CHECK (records > 0),
  digest bytea NOT NULL,
  mac bytea NOT NULL,
  key_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, seq)
);

CREATE TABLE idempotency_keys (
  tenant_id uuid NOT NULL,
  actor text NOT NULL,
  route text NOT NULL,
  key request_key NOT NULL,
  request_hash text NOT NULL,
  status integer NOT NULL,
  headers jsonb NOT NULL DEFAULT '{}',
  body text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, actor, route, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- Envelope encryption: the tenant's data key, wrapped by the key-encryption key that is named.
CREATE TABLE tenant_keys (
  tenant_id uuid PRIMARY KEY REFERENCES tenants,
  wrapped_key bytea NOT NULL,
  nonce bytea NOT NULL,
  kek_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE secrets (
  tenant_id uuid NOT NULL REFERENCES tenants,
  name text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9_]{0,62}$'),
  version integer NOT NULL DEFAULT 1,
  nonce bytea NOT NULL,
  ciphertext bytea NOT NULL,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, name)
);

-- The platform's own bookkeeping.
CREATE TABLE workers (
  boot uuid PRIMARY KEY,
  hostname text NOT NULL,
  pid integer NOT NULL,
  version text NOT NULL,
  queues text[] NOT NULL,
  children jsonb NOT NULL DEFAULT '[]',
  state text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'left', 'dead')),
  protocol integer NOT NULL DEFAULT 0, -- of its messages, claims, heartbeats; 0 told none
  heeds text NOT NULL DEFAULT 'active', -- which order it has carried out
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

CREATE TABLE queue_watermarks (
  queue text PRIMARY KEY,
  ready_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Since when the database has answered without a gap: nobody is declared dead before heartbeats could arrive. A beat
-- that is late with its work makes no gap as long as workers' heartbeats come.
CREATE TABLE platform_clock (
  name text PRIMARY KEY,
  ticked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  steady_since timestamptz NOT NULL DEFAULT clock_timestamp(),
  gap interval NOT NULL DEFAULT '4 seconds'
) WITH (fillfactor = 50);

-- Once a lane hangs, nobody claims its jobs: last_at tells how long ago. A release without a lane deletes its rows.
CREATE TABLE beat_jobs (
  name text PRIMARY KEY,
  lane text NOT NULL DEFAULT '', -- of beat, as the one who claimed it last knows it
  next_at timestamptz NOT NULL,
  last_at timestamptz,
  last_error text
) WITH (fillfactor = 50);

CREATE TABLE leases (
  name text PRIMARY KEY,
  owner text NOT NULL,
  until timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE relay_cursors (
  sink text NOT NULL,
  shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 7),
  position bigint NOT NULL DEFAULT 0,
  epoch text NOT NULL DEFAULT '', -- the sink's memory that the position speaks of: another one has to be told again
  owner text,
  lease_until timestamptz,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (sink, shard)
) WITH (fillfactor = 50);
