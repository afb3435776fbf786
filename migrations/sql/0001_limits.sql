-- Time limits of runs: the deadline, counted from the creation; the queue time limit of a run that nobody begins. They
-- need no worker: beat's timers look at the runs that are due. And the stop of a run, by its limit or by people.

-- What the items ask for; a run without limits is left alone. due_at is when to look: no index holds other runs.
CREATE FUNCTION limit_runs(p_tenant uuid, p_items jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT p_items @? '$[*] ? (exists(@.deadline_s) || exists(@.queue_timeout_s))' THEN
    RETURN;
  END IF;
  UPDATE runs r SET deadline_s = i.deadline_s, queue_timeout_s = i.queue_timeout_s,
         deadline_at = r.created_at + make_interval(secs => i.deadline_s),
         begin_by = r.created_at + make_interval(secs => i.queue_timeout_s),
         due_at = r.created_at + make_interval(secs => least(i.deadline_s, i.queue_timeout_s))
  FROM jsonb_to_recordset(p_items) AS i (run_id uuid, deadline_s double precision, queue_timeout_s double precision)
  WHERE r.tenant_id = p_tenant AND r.id = i.run_id AND coalesce(i.deadline_s, i.queue_timeout_s) IS NOT NULL;
END $$;

-- Nothing of the run begins any more. A step claimed while we waited for its row is running when we see it. Returns
-- how many steps that closed. The caller holds the run's lock.
CREATE FUNCTION close_steps(r runs, p_error jsonb) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE closed integer;
BEGIN
  UPDATE run_steps SET state = 'cancelled', error = p_error, finished_at = clock_timestamp(), sent_at = NULL
  WHERE tenant_id = r.tenant_id AND run_id = r.id AND (state IN ('pending', 'ready')
    -- a sub-workflow's step ends with its run, unless it waits for its retry
    OR state = 'waiting' AND (is_fan OR operation <> 'workflow' OR not_before IS NOT NULL));
  GET DIAGNOSTICS closed = ROW_COUNT;
  RETURN closed;
END $$;

-- Whether a run was stopped by one of its limits: it fails, whatever its steps did.
CREATE FUNCTION is_overdue(p_error jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(p_error ->> 'code' IN ('deadline_exceeded', 'queue_timeout'), false)
$$;

-- The limit that a run has passed now, null when none.
CREATE FUNCTION passed_limit(r runs) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN r.state NOT IN ('awaiting_approval', 'queued', 'running', 'pausing', 'paused') THEN NULL
    WHEN r.deadline_at <= clock_timestamp() THEN jsonb_build_object('code', 'deadline_exceeded',
      'message', 'the run did not end within ' || r.deadline_s || ' s', 'deadline', r.deadline_at)
    WHEN r.started_at IS NULL AND r.begin_by <= clock_timestamp() THEN jsonb_build_object('code', 'queue_timeout',
      'message', 'the run was not begun within ' || r.queue_timeout_s || ' s', 'begin_by', r.begin_by)
  END
$$;

-- A run whose limit has passed stops, or ends if nothing of it runs. Returns its state.
CREATE FUNCTION stop_overdue(r runs, p_why jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE closed integer := close_steps(r, p_why);
BEGIN
  IF r.open_steps = closed THEN
    RETURN settle_run(r, closed, r.failed_steps, r.event_seq, p_why);
  END IF;
  UPDATE runs SET state = 'cancelling', error = p_why, version = version + 1, open_steps = open_steps - closed,
         due_at = NULL
  WHERE tenant_id = r.tenant_id AND id = r.id;
  RETURN 'cancelling';
END $$;

-- Ends the runs whose limit has passed; one that still has running steps is stopping: its workers hear of it, and it
-- fails when the last of them has answered. A run that somebody else has locked waits for the next look. One row for
-- each run looked at: as many as p_limit mean that more may be due. p_careful: a run that cannot be stopped is put off.
CREATE FUNCTION fire_limits(p_limit integer, p_careful boolean DEFAULT false)
RETURNS TABLE (tenant_id uuid, run_id uuid, needs_advance boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE due record; r runs; why jsonb; final text;
BEGIN
  FOR due IN
    SELECT d.tenant_id, d.id FROM (
      SELECT o.tenant_id, o.id FROM runs o WHERE o.due_at <= clock_timestamp() ORDER BY o.due_at LIMIT p_limit) d
    ORDER BY d.tenant_id, d.id
  LOOP
    SELECT * INTO r FROM runs WHERE tenant_id = due.tenant_id AND id = due.id AND due_at <= clock_timestamp()
      FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    why := passed_limit(r);
    IF why IS NULL THEN
      UPDATE runs SET due_at = CASE WHEN deadline_at > clock_timestamp() THEN deadline_at END
      WHERE tenant_id = r.tenant_id AND id = r.id;
      RETURN QUERY SELECT r.tenant_id, r.id, false;
      CONTINUE;
    END IF;
    IF p_careful THEN
      BEGIN
        final := stop_overdue(r, why);
      EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'the limit of run % is put off: %', r.id, SQLERRM;
        UPDATE runs SET due_at = clock_timestamp() + interval '1 minute' WHERE tenant_id = r.tenant_id AND id = r.id;
        CONTINUE;
      END;
    ELSE
      final := stop_overdue(r, why);
    END IF;
    RETURN QUERY SELECT r.tenant_id, r.id, final = 'compensating' OR r.held_steps IS NOT NULL
      OR final = 'failed' AND r.parent_run_id IS NOT NULL;
  END LOOP;
END $$;

-- Steps that a limit has stopped say so, whatever their worker said: a retry must know them.
CREATE FUNCTION blame_limit(r runs, p_error jsonb) RETURNS void LANGUAGE sql AS $$
  UPDATE run_steps SET error = p_error
  WHERE tenant_id = r.tenant_id AND run_id = r.id AND state = 'cancelled'
    AND error ->> 'code' NOT IN ('upstream_failed', 'retired')
$$;
