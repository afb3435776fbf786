-- The limit max_running_steps: how many steps of a tenant may be sent or running at once. A step has a place from the
-- moment it is ready and written as sent until it has ended, waits, or is unsent again: so places are counted from the
-- steps themselves, and a crash leaks none. Steps that wait and sub-workflows take no place.
-- Who gives places holds the tenant's lock of steps, which comes after the run's: whoever has it waits for nobody. It is
-- not the row of the limits, since a submission that holds that one may wait for a run.
-- A canvas of such a tenant carries chains only, so what follows a step takes over its place.

CREATE FUNCTION lock_places(p_tenant uuid) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('quantum.steps ' || p_tenant, 24))
$$;

-- Steps of the tenant with a place, counted no further than p_most.
CREATE FUNCTION steps_taken(p_tenant uuid, p_most integer) RETURNS integer LANGUAGE sql AS $$
  SELECT count(*)::integer FROM (
    (SELECT 1 FROM run_steps a WHERE a.tenant_id = p_tenant AND a.state || '' = 'ready' AND a.sent_at IS NOT NULL
     LIMIT p_most)
    UNION ALL
    (SELECT 1 FROM run_steps b WHERE b.tenant_id = p_tenant AND b.state || '' = 'running' LIMIT p_most)) t
$$;

-- The runs of which ready steps wait for a place, in the order in which they get one: priority, then age.
CREATE INDEX runs_held ON runs (tenant_id, priority DESC, id) WHERE held_steps > 0
  AND (state || '' IN ('queued', 'running') AND admitted_at IS NOT NULL OR state || '' = 'compensating');

CREATE FUNCTION held_runs(p_tenant uuid) RETURNS SETOF runs LANGUAGE sql STABLE AS $$
  SELECT * FROM runs h WHERE h.tenant_id = p_tenant AND h.held_steps > 0
    AND (h.state || '' IN ('queued', 'running') AND h.admitted_at IS NOT NULL OR h.state || '' = 'compensating')
$$;

-- Which plain ready steps of a run have a place now; those before it in the tenant's order come first. next_run is the
-- run to look at next, since places are left. The caller holds the run's lock, and marks the steps before it commits.
CREATE FUNCTION take_places(r runs, p_goes boolean, p_limit integer, OUT keys text[], OUT next_run uuid)
LANGUAGE plpgsql AS $$
DECLARE most integer; free integer; room integer; held integer := 0;
BEGIN
  PERFORM lock_places(r.tenant_id);
  SELECT l.max_running_steps INTO most FROM tenant_limits l WHERE l.tenant_id = r.tenant_id;
  free := CASE WHEN most IS NULL THEN 1000000 ELSE greatest(most - steps_taken(r.tenant_id, most), 0) END;
  keys := '{}';
  IF p_goes THEN
    SELECT free - coalesce(sum(b.held_steps), 0) INTO room FROM (
      SELECT h.held_steps FROM held_runs(r.tenant_id) h
      WHERE h.priority > r.priority OR h.priority = r.priority AND h.id < r.id LIMIT free) b;
    room := least(greatest(room, 0), p_limit);
    keys := ARRAY(
      SELECT s.key FROM run_steps s
      WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.state || '' = 'ready' AND s.sent_at IS NULL
        AND NOT s.is_fan AND s.operation NOT IN ('wait', 'workflow')
      ORDER BY s.seq, s.item LIMIT room + coalesce(most, 0) + 1);
    held := greatest(cardinality(keys) - room, 0);
    keys := keys[1:room];
    free := free - cardinality(keys);
  END IF;
  IF most IS NULL THEN
    held := NULL;
  END IF;
  UPDATE runs SET held_steps = held
  WHERE tenant_id = r.tenant_id AND id = r.id AND held_steps IS DISTINCT FROM held;
  IF free > 0 THEN
    SELECT h.id INTO next_run FROM held_runs(r.tenant_id) h WHERE h.id <> r.id
    ORDER BY h.priority DESC, h.id LIMIT 1;
  END IF;
END $$;

-- The first run of each tenant whose steps wait although a place is free: whoever freed it died before it could look.
CREATE FUNCTION held_runs_due() RETURNS TABLE (tenant_id uuid, run_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE owner uuid := '00000000-0000-0000-0000-000000000000'; most integer;
BEGIN
  LOOP
    SELECT h.tenant_id INTO owner FROM runs h WHERE h.tenant_id > owner AND h.held_steps > 0
      AND (h.state || '' IN ('queued', 'running') AND h.admitted_at IS NOT NULL OR h.state || '' = 'compensating')
    ORDER BY h.tenant_id LIMIT 1;
    EXIT WHEN NOT FOUND;
    most := (SELECT l.max_running_steps FROM tenant_limits l WHERE l.tenant_id = owner);
    IF (most IS NULL OR steps_taken(owner, most) < most)
       AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || owner)) THEN
      RETURN QUERY SELECT h.tenant_id, h.id FROM held_runs(owner) h ORDER BY h.priority DESC, h.id LIMIT 1;
    END IF;
  END LOOP;
END $$;

-- A limit is new, or lower: the canvases of a run are taken back, so that it holds from the next step on.
CREATE FUNCTION gate_run(p_tenant uuid, p_run uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  UPDATE run_steps SET sent_at = NULL, carrier = NULL
  WHERE tenant_id = p_tenant AND run_id = p_run AND state || '' = 'pending' AND sent_at IS NOT NULL;
  UPDATE runs SET held_steps = 0 WHERE tenant_id = p_tenant AND id = p_run AND held_steps IS NULL;
END $$;
