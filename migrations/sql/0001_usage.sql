-- Usage: read models that follow the numbered events; everything in them can be counted again from the rows of runs.

CREATE TABLE usage_days (
  tenant_id uuid NOT NULL REFERENCES tenants,
  day date NOT NULL, -- of a run: when it ended; of an event: when it happened. In UTC
  runs_succeeded bigint NOT NULL DEFAULT 0,
  runs_failed bigint NOT NULL DEFAULT 0,
  runs_cancelled bigint NOT NULL DEFAULT 0,
  attempts bigint NOT NULL DEFAULT 0,
  step_seconds double precision NOT NULL DEFAULT 0,
  events bigint NOT NULL DEFAULT 0,
  event_bytes bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 70);
CREATE INDEX usage_days_day ON usage_days (day);

-- How many runs of a day lie in each bucket; see usage_bounds.
CREATE TABLE usage_latencies (
  tenant_id uuid NOT NULL REFERENCES tenants,
  day date NOT NULL,
  measure text NOT NULL CHECK (measure IN ('wait', 'duration')),
  bucket smallint NOT NULL,
  runs bigint NOT NULL,
  PRIMARY KEY (tenant_id, day, measure, bucket)
) WITH (fillfactor = 70);

-- What each ended run was counted as, so that it can be counted anew after a retry.
CREATE TABLE usage_runs (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  day date NOT NULL,
  state run_state NOT NULL,
  attempts integer NOT NULL,
  step_seconds double precision NOT NULL,
  wait smallint NOT NULL,
  duration smallint NOT NULL,
  PRIMARY KEY (tenant_id, run_id),
  FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);

-- Upper bounds of the buckets in seconds; the last bucket has none.
CREATE FUNCTION usage_bounds() RETURNS double precision[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400]::double precision[]
$$;

CREATE FUNCTION usage_bucket(p_span interval) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
  SELECT width_bucket(greatest(extract(epoch FROM p_span), 0)::double precision, usage_bounds())::smallint
$$;

-- What the named runs count as now: nothing while they have not ended. Waiting ends with the first step; a run that
-- never began waited all its time.
CREATE FUNCTION measure_runs(p_tenant uuid, p_runs uuid[]) RETURNS SETOF usage_runs LANGUAGE sql STABLE AS $$
  SELECT r.tenant_id, r.id, (r.finished_at AT TIME ZONE 'UTC')::date, r.state, a.n::integer, a.seconds,
         usage_bucket(coalesce(r.started_at, r.finished_at) - r.created_at), usage_bucket(r.finished_at - r.created_at)
  FROM runs r CROSS JOIN LATERAL (
    SELECT count(*) AS n, coalesce(sum(extract(epoch FROM s.finished_at - s.started_at)), 0)::double precision AS seconds
    FROM step_attempts s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id) a
  WHERE r.tenant_id = p_tenant AND r.id = ANY (p_runs)
    AND r.state IN ('succeeded', 'failed', 'cancelled') AND r.finished_at IS NOT NULL
$$;

-- Adds runs to their days (p_sign 1), or takes them out again (-1).
CREATE FUNCTION count_runs(p_runs usage_runs[], p_sign integer) RETURNS void LANGUAGE sql AS $$
  WITH days AS (
    INSERT INTO usage_days AS d (tenant_id, day, runs_succeeded, runs_failed, runs_cancelled, attempts, step_seconds)
    SELECT tenant_id, day, p_sign * count(*) FILTER (WHERE state = 'succeeded'),
           p_sign * count(*) FILTER (WHERE state = 'failed'), p_sign * count(*) FILTER (WHERE state = 'cancelled'),
           p_sign * sum(attempts), p_sign * sum(step_seconds)
    FROM unnest(p_runs) GROUP BY tenant_id, day ORDER BY tenant_id, day
    ON CONFLICT (tenant_id, day) DO UPDATE SET runs_succeeded = d.runs_succeeded + excluded.runs_succeeded,
      runs_failed = d.runs_failed + excluded.runs_failed, runs_cancelled = d.runs_cancelled + excluded.runs_cancelled,
      attempts = d.attempts + excluded.attempts, step_seconds = d.step_seconds + excluded.step_seconds)
  INSERT INTO usage_latencies AS l (tenant_id, day, measure, bucket, runs)
  SELECT u.tenant_id, u.day, m.measure, m.bucket, p_sign * count(*)
  FROM unnest(p_runs) u CROSS JOIN LATERAL (VALUES ('wait', u.wait), ('duration', u.duration)) AS m (measure, bucket)
  GROUP BY u.tenant_id, u.day, m.measure, m.bucket ORDER BY u.tenant_id, u.day, m.measure, m.bucket
  ON CONFLICT (tenant_id, day, measure, bucket) DO UPDATE SET runs = l.runs + excluded.runs
$$;

-- Counts runs anew, whatever they were counted as before.
CREATE FUNCTION recount_runs(p_tenant uuid, p_runs uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE rows usage_runs[];
BEGIN
  WITH gone AS (DELETE FROM usage_runs u WHERE u.tenant_id = p_tenant AND u.run_id = ANY (p_runs) RETURNING u.*)
  SELECT array_agg(ROW(gone.*)::usage_runs) INTO rows FROM gone;
  PERFORM count_runs(rows, -1);
  WITH made AS (INSERT INTO usage_runs SELECT * FROM measure_runs(p_tenant, p_runs) RETURNING *)
  SELECT array_agg(ROW(made.*)::usage_runs) INTO rows FROM made;
  PERFORM count_runs(rows, 1);
END $$;

-- Follows the events of each shard with the cursor in the same commit, so that each is counted once whoever dies. A run
-- is counted as its row is now: an event of it that comes later lets it be counted anew. A shard that somebody else
-- has in hand is left to it. Returns the events seen.
CREATE FUNCTION project_usage(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE cursor relay_cursors; tenant uuid; upto bigint; seen integer; total integer := 0; runs uuid[];
BEGIN
  FOR cursor IN SELECT * FROM relay_cursors WHERE sink = 'usage' ORDER BY shard FOR UPDATE SKIP LOCKED LOOP
    SELECT max(b.position), count(*) INTO upto, seen
    FROM (SELECT e.position FROM events e WHERE e.shard = cursor.shard AND e.position > cursor.position
          ORDER BY e.position LIMIT p_limit) b;
    CONTINUE WHEN seen = 0;
    total := total + seen;
    INSERT INTO usage_days AS d (tenant_id, day, events, event_bytes)
    SELECT e.tenant_id, (e.created_at AT TIME ZONE 'UTC')::date, count(*), sum(octet_length(e.data::text))
    FROM events e WHERE e.shard = cursor.shard AND e.position > cursor.position AND e.position <= upto
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (tenant_id, day) DO UPDATE SET events = d.events + excluded.events,
      event_bytes = d.event_bytes + excluded.event_bytes;
    FOR tenant, runs IN
      SELECT e.tenant_id, array_agg(DISTINCT split_part(e.subject, '/', 2)::uuid) FROM events e
      WHERE e.shard = cursor.shard AND e.position > cursor.position AND e.position <= upto AND e.subject LIKE 'runs/%'
        AND e.type IN ('io.quantum.run.succeeded', 'io.quantum.run.failed', 'io.quantum.run.cancelled',
                       'io.quantum.run.retried', 'io.quantum.run.compensating')
      GROUP BY e.tenant_id ORDER BY e.tenant_id
    LOOP
      PERFORM recount_runs(tenant, runs);
    END LOOP;
    UPDATE relay_cursors SET position = upto, updated_at = clock_timestamp()
    WHERE sink = 'usage' AND shard = cursor.shard;
  END LOOP;
  RETURN total;
END $$;

-- Counts a tenant's runs from nothing. The cursors are held meanwhile: what comes later is counted on top. Events are
-- counted anew on the days whose events are all still there; older days keep the numbers they have.
CREATE FUNCTION rebuild_usage(p_tenant uuid, p_whole_since date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE rows usage_runs[]; total integer;
BEGIN
  PERFORM 1 FROM relay_cursors WHERE sink = 'usage' ORDER BY shard FOR UPDATE;
  DELETE FROM usage_runs WHERE tenant_id = p_tenant;
  DELETE FROM usage_latencies WHERE tenant_id = p_tenant;
  DELETE FROM usage_days WHERE tenant_id = p_tenant AND day >= p_whole_since;
  UPDATE usage_days SET runs_succeeded = 0, runs_failed = 0, runs_cancelled = 0, attempts = 0, step_seconds = 0
  WHERE tenant_id = p_tenant;
  WITH made AS (
    INSERT INTO usage_runs SELECT m.* FROM measure_runs(p_tenant, ARRAY(
      SELECT r.id FROM runs r WHERE r.tenant_id = p_tenant AND r.state IN ('succeeded', 'failed', 'cancelled'))) m
    RETURNING *)
  SELECT array_agg(ROW(made.*)::usage_runs), count(*) INTO rows, total FROM made;
  PERFORM count_runs(rows, 1);
  INSERT INTO usage_days AS d (tenant_id, day, events, event_bytes)
  SELECT e.tenant_id, (e.created_at AT TIME ZONE 'UTC')::date, count(*), sum(octet_length(e.data::text))
  FROM events e JOIN relay_cursors c ON c.sink = 'usage' AND c.shard = e.shard AND e.position <= c.position
  WHERE e.tenant_id = p_tenant AND e.created_at >= p_whole_since::timestamp AT TIME ZONE 'UTC'
  GROUP BY 1, 2
  ON CONFLICT (tenant_id, day) DO UPDATE SET events = excluded.events, event_bytes = excluded.event_bytes;
  RETURN total;
END $$;

-- How many runs of a tenant are counted otherwise than their rows say now.
CREATE FUNCTION usage_differs(p_tenant uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
  WITH source AS (
    SELECT m.* FROM measure_runs(p_tenant, ARRAY(SELECT r.id FROM runs r WHERE r.tenant_id = p_tenant)) m
  ), counted AS (SELECT * FROM usage_runs WHERE tenant_id = p_tenant),
  days AS (
    SELECT day, count(*) FILTER (WHERE state = 'succeeded') AS succeeded, count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled, sum(attempts) AS attempts
    FROM source GROUP BY day)
  SELECT (SELECT count(*) FROM (SELECT * FROM source EXCEPT SELECT * FROM counted) missing)
    + (SELECT count(*) FROM (SELECT * FROM counted EXCEPT SELECT * FROM source) surplus)
    + (SELECT count(*) FROM days d LEFT JOIN usage_days u ON u.tenant_id = p_tenant AND u.day = d.day
       WHERE (u.runs_succeeded, u.runs_failed, u.runs_cancelled, u.attempts)
         IS DISTINCT FROM (d.succeeded, d.failed, d.cancelled, d.attempts))
$$;

GRANT SELECT ON usage_days, usage_latencies, usage_runs TO quantum_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_days, usage_latencies, usage_runs TO quantum_system;
