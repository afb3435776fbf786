-- Admission: a run that is queued or running while admitted_at is null waits, its steps are not sent. What counts is
-- counted from rows: a run holds its tenant's place from its admission until it ends or rests, whoever dies in between.
-- Lock order: run, then the tenant's limits, then its place in the fair queue. admit never waits for a run.

-- What a tenant may have at once; null is unlimited. Admission under a limit is serialised on this row.
CREATE TABLE tenant_limits (
  tenant_id uuid PRIMARY KEY REFERENCES tenants,
  weight integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
  max_running_runs integer CHECK (max_running_runs >= 0),
  max_running_steps integer CHECK (max_running_steps >= 0), -- see 0001_step_limits.sql
  caps jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(caps) = 'object'), -- by kind, where not as usual: app/domain/caps.py
  version integer NOT NULL DEFAULT 1,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

-- Start-time fair queueing: finish is the virtual time at which what the tenant got of the pool so far is paid for.
-- Only a tenant with waiting runs is listed; one that cannot have more is parked for a while, until a run of it ends.
CREATE TABLE fair_queues (
  tenant_id uuid NOT NULL REFERENCES tenants,
  pool text NOT NULL,
  listed boolean NOT NULL DEFAULT true,
  finish double precision NOT NULL DEFAULT 0,
  parked_until timestamptz,
  served_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  rate double precision NOT NULL DEFAULT 0, -- admissions a second, as of served_at; halves in seven seconds
  PRIMARY KEY (tenant_id, pool)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX fair_queues_order ON fair_queues (pool, finish, tenant_id) WHERE listed;

-- The virtual clock of each pool.
CREATE TABLE pools (
  pool text PRIMARY KEY,
  clock double precision NOT NULL DEFAULT 0,
  rate double precision NOT NULL DEFAULT 0,
  served_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- How many runs of the tenant hold a place, counted no further than p_most.
CREATE FUNCTION places_taken(p_tenant uuid, p_most integer) RETURNS integer LANGUAGE sql AS $$
  SELECT count(*)::integer FROM (
    SELECT 1 FROM runs r WHERE r.tenant_id = p_tenant AND r.parent_run_id IS NULL AND r.admitted_at IS NOT NULL
      AND r.state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating') LIMIT p_most) t
$$;

-- How many runs of the tenant may be admitted now: null without a limit, and then no lock was taken. With one, its row
-- stays locked until the caller commits, so two admissions count one after the other. A newcomer finds no place while
-- older runs of its tenant wait. gated: its steps need a place as well.
CREATE FUNCTION free_places(p_tenant uuid, OUT room integer, OUT gated boolean) LANGUAGE plpgsql AS $$
DECLARE most integer;
BEGIN
  SELECT l.max_running_runs, l.max_running_steps IS NOT NULL INTO most, gated FROM tenant_limits l
  WHERE l.tenant_id = p_tenant AND (l.max_running_runs IS NOT NULL OR l.max_running_steps IS NOT NULL)
  FOR NO KEY UPDATE;
  IF most IS NULL THEN
    RETURN;
  END IF;
  room := CASE WHEN EXISTS (
      SELECT 1 FROM runs r WHERE r.tenant_id = p_tenant AND r.admitted_at IS NULL
        AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running')) THEN 0
    ELSE greatest(most - places_taken(p_tenant, most), 0) END;
END $$;

-- Which of new runs must wait: those that the caller found no room for in their pool, and those beyond the tenant's
-- limit; all while the platform or the tenant is held. A null among them says that the steps of the others need places too, so that nothing is written as sent. A
-- sub-workflow's run comes alone and goes in with its parent.
CREATE FUNCTION held_back(p_tenant uuid, p_items jsonb, p_blocked uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE room integer; gated boolean; held boolean; limited boolean;
BEGIN
  IF p_items -> 0 ->> 'parent_run_id' IS NOT NULL THEN
    RETURN '{}'; -- its parent's lock is held, so no limit is waited for
  END IF;
  -- One look for both, as mostly there is neither: the start of a statement costs more than its rows.
  SELECT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant)),
         EXISTS (SELECT 1 FROM tenant_limits l WHERE l.tenant_id = p_tenant
                 AND (l.max_running_runs IS NOT NULL OR l.max_running_steps IS NOT NULL)) INTO held, limited;
  IF held THEN
    RETURN ARRAY(SELECT (i ->> 'run_id')::uuid FROM jsonb_array_elements(p_items) i);
  ELSIF limited THEN
    SELECT f.room, f.gated INTO room, gated FROM free_places(p_tenant) f;
  END IF;
  IF gated THEN
    p_blocked := array_append(p_blocked, NULL);
  END IF;
  IF room IS NULL AND NOT p_items @> '[{"hold": true}]' THEN
    RETURN p_blocked;
  END IF;
  RETURN p_blocked || ARRAY(
    SELECT w.run_id FROM (
      SELECT (i.item ->> 'run_id')::uuid AS run_id, coalesce((i.item ->> 'hold')::boolean, false) AS hold,
             row_number() OVER (PARTITION BY coalesce((i.item ->> 'hold')::boolean, false)
                                ORDER BY (i.item ->> 'run_id')::uuid) AS place
      FROM jsonb_array_elements(p_items) AS i (item)
      WHERE ((i.item ->> 'run_id')::uuid = ANY (p_blocked)) IS NOT TRUE) w
    WHERE w.hold OR w.place > room);
END $$;

-- Puts the tenant into the queues of the pools in which it has waiting runs; mostly it is there already.
CREATE FUNCTION list_waiting(p_tenant uuid, p_pools text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO fair_queues (tenant_id, pool)
  SELECT p_tenant, w.pool FROM (SELECT DISTINCT unnest(p_pools) AS pool) w
  WHERE NOT EXISTS (SELECT 1 FROM fair_queues f WHERE f.tenant_id = p_tenant AND f.pool = w.pool AND f.listed)
  ORDER BY w.pool
  ON CONFLICT (tenant_id, pool) DO UPDATE SET listed = true, parked_until = NULL, served_at = clock_timestamp()
    WHERE NOT fair_queues.listed;
END $$;

-- The admission of one run that comes back, from a retry or a pause: now, or null when anything limits it, and it waits
-- for the admitter. The caller holds the run's lock, so it must not wait for that of a limit.
CREATE FUNCTION place_for(r runs) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  IF r.parent_run_id IS NOT NULL THEN
    RETURN clock_timestamp();
  ELSIF r.concurrency_key IS NOT NULL THEN
    PERFORM touch_key(r.tenant_id, r.concurrency_key);
    RETURN NULL;
  ELSIF NOT EXISTS (SELECT 1 FROM tenant_limits l
                    WHERE l.tenant_id = r.tenant_id AND l.max_running_runs IS NOT NULL) THEN
    RETURN clock_timestamp();
  END IF;
  PERFORM list_waiting(r.tenant_id, ARRAY[r.pool]);
  RETURN NULL;
END $$;

-- Takes the admission back that a run got in this very transaction: its pool is full.
CREATE FUNCTION hold_run(p_tenant uuid, p_run uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE held text;
BEGIN
  UPDATE runs SET admitted_at = NULL WHERE tenant_id = p_tenant AND id = p_run AND state IN ('queued', 'running')
    AND admitted_at >= transaction_timestamp()
  RETURNING pool INTO held;
  IF FOUND THEN
    PERFORM list_waiting(p_tenant, ARRAY[held]);
  END IF;
END $$;

-- A place of the tenant is free. The row changes even if the mark of the parked is old: an admit that is about to park
-- the tenant, because it has counted before us, sees that and does not. The caller holds a run's lock, so it waits for
-- no row: what it skips is looked at again when the tenant's rest is over.
CREATE FUNCTION unpark(p_tenant uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE fair_queues f SET parked_until = clock_timestamp() FROM (
    SELECT q.pool FROM fair_queues q WHERE q.tenant_id = p_tenant AND q.listed AND q.parked_until IS NOT NULL
    FOR UPDATE SKIP LOCKED) free
  WHERE f.tenant_id = p_tenant AND f.pool = free.pool;
END $$;

-- The run has ended, or rests: its place and that under its key are free.
CREATE FUNCTION leave_place(p_tenant uuid, p_key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM unpark(p_tenant);
  IF p_key IS NOT NULL THEN
    PERFORM touch_key(p_tenant, p_key);
  END IF;
END $$;

-- What each queue has to do, and may have to do: so many steps for each live worker process, at least p_floor.
CREATE FUNCTION pool_loads(p_floor integer, p_per_slot integer)
RETURNS TABLE (pool text, slots integer, bound integer, load integer, waiting boolean) LANGUAGE sql STABLE AS $$
  WITH loads AS (
    SELECT s.queue, count(*) AS load FROM (
      (SELECT a.queue FROM run_steps a WHERE a.state || '' = 'ready' AND a.sent_at IS NOT NULL LIMIT 10000)
      UNION ALL (SELECT b.queue FROM run_steps b WHERE b.state || '' = 'running' LIMIT 10000)) s GROUP BY s.queue
  ), live AS (
    SELECT q.queue, sum(greatest(jsonb_array_length(w.children), 1)) AS slots
    FROM workers w CROSS JOIN LATERAL unnest(w.queues) AS q (queue)
    WHERE w.state = 'live' AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name = 'worker/' || w.hostname)
    GROUP BY q.queue
  )
  SELECT n.queue, coalesce(v.slots, 0)::integer, greatest(p_floor, p_per_slot * coalesce(v.slots, 0))::integer,
         coalesce(l.load, 0)::integer, EXISTS (
           SELECT 1 FROM fair_queues f WHERE f.pool = n.queue AND f.listed
             AND (f.parked_until IS NULL OR f.parked_until <= clock_timestamp())
             AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name = 'tenant/' || f.tenant_id)
             AND EXISTS (SELECT 1 FROM runs r WHERE r.tenant_id = f.tenant_id AND r.pool = f.pool
                          AND r.admitted_at IS NULL AND NOT r.held_by_key
                          AND r.state || '' IN ('queued', 'running')))
  FROM (SELECT queue FROM loads UNION SELECT queue FROM live UNION SELECT p.pool FROM pools p) AS n (queue)
  LEFT JOIN loads l ON l.queue = n.queue LEFT JOIN live v ON v.queue = n.queue
$$;

-- Admits what waits, pool by pool, as far as each has room, at most p_limit runs a pool. One at a time: a second caller
-- finds nothing to do. A fresh run is marked as sent, like a submission, so the caller sends its first segments under
-- epoch 1; the caller advances the others.
CREATE FUNCTION admit(p_limit integer, p_floor integer, p_per_slot integer, p_broker_epoch text)
RETURNS TABLE (tenant_id uuid, run_id uuid, plan_hash text, fresh boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE name text := ''; room integer; loads jsonb;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('quantum.admit')) OR EXISTS (SELECT 1 FROM holds WHERE name = '*') THEN
    RETURN;
  END IF;
  LOOP
    SELECT min(f.pool) INTO name FROM fair_queues f WHERE f.listed AND f.pool >= name;
    EXIT WHEN name IS NULL;
    IF name <> '' AND loads IS NULL THEN
      SELECT coalesce(jsonb_object_agg(l.pool, l.bound - l.load), '{}') INTO loads FROM pool_loads(p_floor, p_per_slot) l;
    END IF;
    room := CASE WHEN name = '' THEN p_limit ELSE least(coalesce((loads ->> name)::integer, p_floor), p_limit) END;
    IF room > 0 THEN
      RETURN QUERY SELECT * FROM admit_pool(name, room, p_broker_epoch);
    END IF;
    name := name || chr(1);
  END LOOP;
END $$;

-- The tenants of the pool take turns by virtual time, each by its weight; a run costs as much as it has open steps.
-- Within a tenant priority goes first, then age. Those asked are the next in turn, so whoever is left out was not near.
CREATE FUNCTION admit_pool(p_pool text, p_room integer, p_broker_epoch text)
RETURNS TABLE (tenant_id uuid, run_id uuid, plan_hash text, fresh boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  room integer := p_room; now_at double precision; asked uuid[]; news record; admitted uuid[] := '{}';
  owners uuid[] := '{}';
BEGIN
  INSERT INTO pools (pool) VALUES (p_pool) ON CONFLICT DO NOTHING;
  SELECT p.clock INTO now_at FROM pools p WHERE p.pool = p_pool FOR NO KEY UPDATE;
  FOR look IN 1..8 LOOP
    asked := ARRAY(SELECT f.tenant_id FROM fair_queues f
      WHERE f.pool = p_pool AND f.listed AND (f.parked_until IS NULL OR f.parked_until <= clock_timestamp())
        AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name = 'tenant/' || f.tenant_id)
      ORDER BY f.finish, f.tenant_id LIMIT CASE WHEN look = 1 THEN room ELSE greatest(room, 64) END);
    EXIT WHEN asked = '{}';
    PERFORM 1 FROM tenant_limits l WHERE l.tenant_id = ANY (asked) AND l.max_running_runs IS NOT NULL
      ORDER BY l.tenant_id FOR NO KEY UPDATE;
    SELECT * INTO news FROM admit_round(p_pool, room, now_at, asked);
    owners := owners || news.owners;
    admitted := admitted || news.ids;
    now_at := greatest(now_at, news.clock);
    room := room - cardinality(news.ids);
    EXIT WHEN room <= 0 OR news.rested + cardinality(news.ids) = 0;
  END LOOP;
  UPDATE pools p SET clock = now_at, served_at = clock_timestamp(),
    rate = decayed(p.rate, p.served_at) + cardinality(admitted) / 10.0
  WHERE p.pool = p_pool AND cardinality(admitted) > 0;
  RETURN QUERY SELECT * FROM mark_first(owners, admitted, p_broker_epoch);
END $$;

-- A rate as it is now: nothing came since p_at.
CREATE FUNCTION decayed(p_rate double precision, p_at timestamptz) RETURNS double precision LANGUAGE sql AS $$
  SELECT p_rate * exp(-least(extract(epoch FROM clock_timestamp() - p_at)::double precision, 1000) / 10)
$$;

-- One turn among the tenants asked. Under each tenant's limit, whose row the caller has locked before this statement
-- took its snapshot, no more are taken than it has free places. Who has nothing to give rests: shortly when it has
-- no waiting run, until one of its runs ends when its places are taken.
CREATE FUNCTION admit_round(p_pool text, p_room integer, p_clock double precision, p_asked uuid[],
                            OUT owners uuid[], OUT ids uuid[], OUT clock double precision, OUT rested integer)
LANGUAGE sql AS $$
  WITH share AS MATERIALIZED (
    SELECT f.tenant_id, greatest(f.finish, p_clock) AS base, f.finish AS idle, f.parked_until AS seen,
           coalesce(l.weight, 1)::double precision AS weight,
           greatest(0, least(ceil(p_room * coalesce(l.weight, 1)::double precision
               / sum(coalesce(l.weight, 1)) OVER ()) + 1, CASE WHEN l.max_running_runs IS NOT NULL THEN
               l.max_running_runs - places_taken(f.tenant_id, l.max_running_runs) END))::integer AS places
    FROM fair_queues f LEFT JOIN tenant_limits l ON l.tenant_id = f.tenant_id
    WHERE f.pool = p_pool AND f.tenant_id = ANY (p_asked)
  ), waiting AS MATERIALIZED (
    SELECT s.*, w.id, w.priority, w.cost FROM share s CROSS JOIN LATERAL (
      SELECT r.id, r.priority, greatest(r.open_steps, 1) AS cost FROM runs r
      WHERE r.tenant_id = s.tenant_id AND r.pool = p_pool AND r.admitted_at IS NULL
        AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running')
      ORDER BY r.priority DESC, r.id LIMIT s.places FOR NO KEY UPDATE SKIP LOCKED) w
  ), tagged AS (
    SELECT w.*, w.base + sum(w.cost) OVER (PARTITION BY w.tenant_id ORDER BY w.priority DESC, w.id) / w.weight AS paid
    FROM waiting w
  ), chosen AS MATERIALIZED (
    SELECT t.*, t.paid - t.cost / t.weight AS start FROM tagged t
    ORDER BY t.paid - t.cost / t.weight, t.idle, t.tenant_id, t.priority DESC, t.id LIMIT p_room
  ), taken AS (
    UPDATE runs r SET admitted_at = clock_timestamp() FROM chosen c WHERE r.tenant_id = c.tenant_id AND r.id = c.id
  ), charged AS (
    UPDATE fair_queues f SET finish = c.paid, served_at = clock_timestamp(),
      rate = decayed(f.rate, f.served_at) + c.number / 10.0
    FROM (SELECT tenant_id, max(paid) AS paid, count(*) AS number FROM chosen GROUP BY tenant_id) c
    WHERE f.tenant_id = c.tenant_id AND f.pool = p_pool
  ), resting AS (
    UPDATE fair_queues f SET listed = e.waits OR f.served_at > clock_timestamp() - interval '2 seconds',
      parked_until = clock_timestamp() + CASE WHEN e.waits THEN interval '0.5 seconds' ELSE interval '0.1 seconds' END
    FROM share s CROSS JOIN LATERAL (SELECT EXISTS (
      SELECT 1 FROM runs r WHERE r.tenant_id = s.tenant_id AND r.pool = p_pool AND r.admitted_at IS NULL
        AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running')) AS waits) e
    WHERE f.tenant_id = s.tenant_id AND f.pool = p_pool AND f.parked_until IS NOT DISTINCT FROM s.seen
      AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.tenant_id = f.tenant_id)
    RETURNING 1
  )
  SELECT coalesce(array_agg(c.tenant_id), '{}'), coalesce(array_agg(c.id), '{}'), max(c.start),
         (SELECT count(*)::integer FROM resting) FROM chosen c
$$;

-- A run that nobody has touched since it was declared is written as sent, as far as its plan's first segments go; not
-- when each of its steps needs a place.
CREATE FUNCTION mark_first(p_tenants uuid[], p_runs uuid[], p_broker_epoch text)
RETURNS TABLE (tenant_id uuid, run_id uuid, plan_hash text, fresh boolean) LANGUAGE sql AS $$
  WITH taken AS MATERIALIZED (
    SELECT r.tenant_id, r.id, r.plan_hash, r.version = 1 AND r.held_steps IS NULL AS fresh
    FROM unnest(p_tenants, p_runs) AS a (tenant_id, id) JOIN runs r ON r.tenant_id = a.tenant_id AND r.id = a.id
  ), marked AS (
    UPDATE run_steps s SET sent_at = clock_timestamp(), dispatch_epoch = 1, carrier = p.first_carrier,
           broker_epoch = p_broker_epoch
    FROM taken t JOIN plan_steps p ON p.tenant_id = t.tenant_id AND p.plan_hash = t.plan_hash
      AND p.first_carrier IS NOT NULL
    WHERE t.fresh AND s.tenant_id = t.tenant_id AND s.run_id = t.id AND s.key = p.base
  ) SELECT t.tenant_id, t.id, t.plan_hash, t.fresh FROM taken t
$$;

-- Lists tenants that a listing was lost for: their submission committed after its queue was found empty for seconds.
CREATE FUNCTION relist_waiting() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE found integer;
BEGIN
  INSERT INTO fair_queues (tenant_id, pool)
  SELECT DISTINCT r.tenant_id, r.pool FROM runs r
  WHERE r.admitted_at IS NULL AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running') ORDER BY 1, 2
  ON CONFLICT (tenant_id, pool) DO UPDATE SET listed = true, parked_until = NULL WHERE NOT fair_queues.listed;
  GET DIAGNOSTICS found = ROW_COUNT;
  RETURN found;
END $$;

-- Where a waiting run stands: how many of its tenant go before it, how many of all tenants by the order of the fair
-- queue as it is now; with the rates at which its pool and its tenant were admitted lately.
CREATE FUNCTION fair_place(p_tenant uuid, p_run uuid, OUT in_tenant integer, OUT in_pool integer,
                           OUT tenant_rate double precision, OUT pool_rate double precision)
LANGUAGE plpgsql AS $$
DECLARE me runs; before integer; start double precision; now_at double precision;
BEGIN
  SELECT * INTO me FROM runs WHERE tenant_id = p_tenant AND id = p_run;
  SELECT p.clock, decayed(p.rate, p.served_at) INTO now_at, pool_rate FROM pools p WHERE p.pool = me.pool;
  SELECT count(*), coalesce(sum(o.cost), 0) INTO in_tenant, before FROM (
    SELECT greatest(r.open_steps, 1) AS cost FROM runs r
    WHERE r.tenant_id = p_tenant AND r.pool = me.pool AND r.admitted_at IS NULL
      AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running')
      AND (r.priority > me.priority OR r.priority = me.priority AND r.id < p_run) LIMIT 100000) o;
  SELECT greatest(coalesce(f.finish, 0), coalesce(now_at, 0)) + before::double precision / coalesce(l.weight, 1),
         decayed(f.rate, f.served_at) INTO start, tenant_rate
  FROM (SELECT 1) one LEFT JOIN fair_queues f ON f.tenant_id = p_tenant AND f.pool = me.pool
  LEFT JOIN tenant_limits l ON l.tenant_id = p_tenant;
  SELECT in_tenant + coalesce(sum(a.ahead), 0) INTO in_pool
  FROM fair_queues f LEFT JOIN tenant_limits l ON l.tenant_id = f.tenant_id
  CROSS JOIN LATERAL (SELECT greatest(f.finish, coalesce(now_at, 0)) AS base, coalesce(l.weight, 1) AS weight) w
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE w.base + (q.paid - q.cost) / w.weight < start) AS ahead FROM (
      SELECT o.cost, sum(o.cost) OVER (ORDER BY o.priority DESC, o.id)::double precision AS paid FROM (
        SELECT r.id, r.priority, greatest(r.open_steps, 1) AS cost FROM runs r
        WHERE r.tenant_id = f.tenant_id AND r.pool = f.pool AND r.admitted_at IS NULL
          AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running')
        ORDER BY r.priority DESC, r.id LIMIT least(1000, ceil((start - w.base) * w.weight) + 1)) o) q) a
  WHERE f.pool = me.pool AND f.listed AND f.tenant_id <> p_tenant AND w.base < start
    AND (f.parked_until IS NULL OR f.parked_until <= clock_timestamp());
END $$;

GRANT SELECT, UPDATE (updated_at) ON tenant_limits TO quantum_app; -- the right to lock its own row, no more
GRANT SELECT, INSERT, UPDATE ON fair_queues TO quantum_app;
GRANT SELECT, INSERT, UPDATE ON tenant_limits, fair_queues, pools TO quantum_system;
