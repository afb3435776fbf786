-- The system role's jobs across tenants. Each returns the (tenant, run) pairs it touched, so that the caller goes on
-- as those tenants. Runs are taken in one order, so two beats cannot deadlock; only database time is compared.

-- The clock of recovery. Every heartbeat and every look for the dead ticks it: while ticks come, heartbeats can. A gap
-- longer than p_gap, or a restart of the server, begins a new steady time; the answer is how long it lasts. Whoever
-- finds the row locked skips its tick, because somebody ticks right now.
CREATE FUNCTION tick_clock(p_gap interval DEFAULT NULL) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE steady interval;
BEGIN
  INSERT INTO platform_clock (name) VALUES ('recover') ON CONFLICT DO NOTHING;
  UPDATE platform_clock c SET ticked_at = clock_timestamp(), gap = coalesce(p_gap, c.gap),
    steady_since = CASE WHEN clock_timestamp() - c.ticked_at > coalesce(p_gap, c.gap) THEN clock_timestamp()
                        ELSE greatest(c.steady_since, pg_postmaster_start_time()) END
  WHERE c.name IN (SELECT l.name FROM platform_clock l WHERE l.name = 'recover' FOR UPDATE SKIP LOCKED)
  RETURNING clock_timestamp() - c.steady_since INTO steady;
  RETURN coalesce(steady, interval '0');
END $$;

-- A worker says it lives, which protocol it speaks, what it heeds; the answer is what it executes for runs that are being
-- cancelled. The last two have defaults, so that a worker of an older release still beats.
CREATE FUNCTION beat(p_boot uuid, p_hostname text, p_pid integer, p_version text, p_queues text[], p_children jsonb,
                     p_protocol integer DEFAULT 0, p_heeds text DEFAULT 'active')
RETURNS TABLE (tenant_id uuid, run_id uuid, key text, pid integer, born bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO workers (boot, hostname, pid, version, queues, children, protocol, heeds)
  VALUES (p_boot, p_hostname, p_pid, p_version, p_queues, p_children, p_protocol, p_heeds)
  ON CONFLICT (boot) DO UPDATE SET children = excluded.children, queues = excluded.queues, state = 'live',
    heeds = excluded.heeds, seen_at = clock_timestamp();
  PERFORM tick_clock();
  RETURN QUERY
    SELECT s.tenant_id, s.run_id, s.key, s.lease_pid, s.lease_born FROM run_steps s
    JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id AND r.state = 'cancelling'
    WHERE s.lease_boot = p_boot AND s.state || '' = 'running';
END $$;

-- Gives back what one dead pool process held.
CREATE FUNCTION release_child(p_boot uuid, p_pid integer, p_born bigint)
RETURNS TABLE (tenant_id uuid, run_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE s record; news record;
BEGIN
  FOR s IN SELECT t.tenant_id, t.run_id, t.key, t.tries FROM run_steps t
           WHERE t.lease_boot = p_boot AND t.lease_pid = p_pid AND t.lease_born = p_born AND t.state || '' = 'running'
           ORDER BY t.tenant_id, t.run_id, t.key
  LOOP
    SELECT * INTO news FROM finish_step(s.tenant_id, s.run_id, s.key, s.tries, 'killed', NULL, NULL,
      jsonb_build_object('code', 'process_died', 'message', 'the process that ran the step died'), NULL);
    IF news.verdict = 'finished' THEN
      RETURN QUERY SELECT s.tenant_id, s.run_id;
    END IF;
  END LOOP;
END $$;

-- Workers whose last p_misses heartbeats did not come are dead, and what they held is given back; but only if they
-- could have come: the database has answered without a gap for that long. Claims of a worker nobody knows count too.
CREATE FUNCTION release_dead(p_interval interval, p_misses integer)
RETURNS TABLE (tenant_id uuid, run_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE s record; news record; patience interval := p_interval * p_misses;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('quantum.release_dead')) THEN
    RETURN;
  END IF;
  -- A gap that lets more than one heartbeat fall out could make the living look dead.
  IF tick_clock(p_interval * greatest(p_misses - 1, 1)) < patience THEN
    RETURN;
  END IF;
  UPDATE workers SET state = 'dead' WHERE state = 'live' AND seen_at < clock_timestamp() - patience;
  FOR s IN SELECT t.tenant_id, t.run_id, t.key, t.tries FROM run_steps t
           WHERE t.state || '' = 'running' AND t.started_at < clock_timestamp() - p_interval
             AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.boot = t.lease_boot AND w.state = 'live')
             AND (t.started_at < clock_timestamp() - patience
                  OR EXISTS (SELECT 1 FROM workers w WHERE w.boot = t.lease_boot))
           ORDER BY t.tenant_id, t.run_id, t.key
  LOOP
    BEGIN -- one row that cannot be given back must not keep the others
      SELECT * INTO news FROM finish_step(s.tenant_id, s.run_id, s.key, s.tries, 'killed', NULL, NULL,
        jsonb_build_object('code', 'worker_died', 'message', 'the worker that ran the step died'), NULL);
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'the step % of run % cannot be given back: %', s.key, s.run_id, SQLERRM;
      CONTINUE;
    END;
    IF news.verdict = 'finished' THEN
      RETURN QUERY SELECT s.tenant_id, s.run_id;
    END IF;
  END LOOP;
END $$;

-- Retries whose time has come. A run that somebody else has locked waits for the next tick; a run that is paused keeps
-- its waits, and they take no place in the limit.
CREATE FUNCTION due_waits(p_limit integer) RETURNS TABLE (tenant_id uuid, run_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH due AS MATERIALIZED (
      SELECT s.tenant_id, s.run_id, s.key FROM run_steps s
      JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id AND r.state IN ('queued', 'running', 'compensating')
      WHERE s.state || '' = 'waiting' AND s.not_before <= clock_timestamp() AND s.operation <> 'wait'
      ORDER BY s.not_before LIMIT p_limit
    ), held AS MATERIALIZED (
      SELECT r.tenant_id, r.id FROM runs r
      WHERE (r.tenant_id, r.id) IN (SELECT d.tenant_id, d.run_id FROM due d)
        AND r.state IN ('queued', 'running', 'compensating')
      ORDER BY r.tenant_id, r.id FOR NO KEY UPDATE SKIP LOCKED
    ), woken AS (
      UPDATE run_steps s SET state = 'ready', ready_at = clock_timestamp(), not_before = NULL
      FROM due d JOIN held h ON h.tenant_id = d.tenant_id AND h.id = d.run_id
      WHERE s.tenant_id = d.tenant_id AND s.run_id = d.run_id AND s.key = d.key AND s.state || '' = 'waiting'
        AND s.not_before <= clock_timestamp()
      RETURNING s.tenant_id, s.run_id
    ) SELECT DISTINCT w.tenant_id, w.run_id FROM woken w;
END $$;

-- Runs under way with steps that are ready and that nobody has sent for a while: the sender died, or the broker was
-- away. What a paused run, one that is not admitted, maintenance or suspension hold back takes no place in the list, nor do
-- steps that wait for a place under their tenant's limit. Tenants take turns: runs that cannot be sent, whatever is wrong
-- with them, keep nobody else's from it.
CREATE FUNCTION unsent_runs(p_limit integer, p_older interval)
RETURNS TABLE (tenant_id uuid, run_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT DISTINCT u.tenant_id, u.run_id FROM (
      SELECT s.tenant_id, s.run_id, row_number() OVER (PARTITION BY s.tenant_id ORDER BY s.ready_at) AS turn
      FROM run_steps s
      JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id
        AND (r.state IN ('queued', 'running') AND r.admitted_at IS NOT NULL OR r.state = 'compensating')
        AND (coalesce(r.held_steps, 0) = 0 OR s.is_fan OR s.operation IN ('wait', 'workflow'))
      WHERE s.state || '' = 'ready' AND s.sent_at IS NULL AND s.ready_at < clock_timestamp() - p_older
        AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || s.tenant_id))
      ORDER BY turn, s.ready_at LIMIT p_limit) u;
END $$;

-- Steps whose message may be lost: sent, ready for some seconds, not claimed. Being old proves nothing; overtaken
-- (a step of the same queue, ready well after it, was claimed) is evidence, judged with a look into the broker.
-- The watermark of each queue is the latest sending among the messages that were claimed, sampled from the steps that
-- run. When one became ready is no evidence: a later link of a chain may have gone on within its process, as loose steps
-- do, which says nothing about those that wait in the queue.
-- A loose step has no message: it is lost when nobody of its lot is left who would take it along (tended), and it is
-- given a message of its own where processes of its queue have nothing to do (idle: how many have no step).
-- Each tenant's queues take turns in the list: what waits for one of them, however much, hides nothing of another.
CREATE FUNCTION candidates_lost(p_limit integer)
RETURNS TABLE (tenant_id uuid, run_id uuid, key text, dispatch_epoch integer, queue text, broker_epoch text,
               overtaken boolean, loose boolean, tended boolean, idle integer) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE before timestamptz := clock_timestamp() - interval '3 seconds';
BEGIN
  INSERT INTO queue_watermarks AS w (queue, ready_at)
  SELECT s.queue, max(s.sent_at) FROM run_steps s
  WHERE s.state || '' = 'running' AND NOT s.loose AND s.sent_at IS NOT NULL GROUP BY s.queue ORDER BY s.queue
  ON CONFLICT (queue) DO UPDATE SET ready_at = greatest(w.ready_at, excluded.ready_at);
  RETURN QUERY
    WITH RECURSIVE places AS ( -- one step down the index for each queue of each tenant
      (SELECT s.tenant_id, s.queue FROM run_steps s WHERE s.state || '' = 'ready' AND s.sent_at IS NOT NULL
       ORDER BY s.tenant_id, s.queue LIMIT 1)
      UNION ALL
      SELECT n.tenant_id, n.queue FROM places p CROSS JOIN LATERAL (
        SELECT s.tenant_id, s.queue FROM run_steps s WHERE s.state || '' = 'ready' AND s.sent_at IS NOT NULL
          AND (s.tenant_id, s.queue) > (p.tenant_id, p.queue)
        ORDER BY s.tenant_id, s.queue LIMIT 1) n
    ), found AS MATERIALIZED (
      SELECT c.*, row_number() OVER (PARTITION BY c.tenant_id, c.queue ORDER BY c.ready_at) AS turn
      FROM places p CROSS JOIN LATERAL (
        SELECT s.tenant_id, s.run_id, s.key, s.dispatch_epoch, s.queue, s.broker_epoch, s.ready_at, s.sent_at, s.loose,
               s.lot
        FROM run_steps s
        WHERE s.tenant_id = p.tenant_id AND s.queue = p.queue AND s.state || '' = 'ready' AND s.sent_at IS NOT NULL
          AND s.ready_at < before AND s.sent_at < before
        ORDER BY s.ready_at LIMIT p_limit) c
      ORDER BY turn, c.ready_at LIMIT p_limit
    )
    SELECT s.tenant_id, s.run_id, s.key, s.dispatch_epoch, s.queue, s.broker_epoch,
           coalesce(w.ready_at > greatest(s.ready_at, s.sent_at) + interval '10 seconds', false), s.loose,
           NOT s.loose OR EXISTS (SELECT 1 FROM run_steps f
             WHERE f.tenant_id = s.tenant_id AND f.run_id = s.run_id AND f.lot = s.lot AND f.lot IS NOT NULL
               AND (f.state || '' = 'running' OR NOT f.loose AND f.state || '' = 'ready' AND f.sent_at IS NOT NULL)),
           CASE WHEN s.loose THEN coalesce(q.slots - b.busy, q.slots, 0) ELSE 0 END
    FROM found s LEFT JOIN queue_watermarks w ON w.queue = s.queue
    LEFT JOIN queue_slots() q ON q.queue = s.queue
    LEFT JOIN (SELECT f.queue, count(*)::integer AS busy FROM run_steps f WHERE f.state || '' = 'running'
               GROUP BY f.queue) b ON b.queue = s.queue
    ORDER BY s.turn, s.ready_at;
END $$;

-- True for one of many who ask, at most once in p_every: a tick that is safe with two beats.
CREATE FUNCTION claim_job(p_name text, p_every interval, p_lane text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO beat_jobs AS j (name, lane, next_at, last_at)
  VALUES (p_name, p_lane, clock_timestamp() + p_every, clock_timestamp())
  ON CONFLICT (name) DO UPDATE SET lane = p_lane, next_at = clock_timestamp() + p_every, last_at = clock_timestamp()
    WHERE j.next_at <= clock_timestamp();
  RETURN FOUND;
END $$;
