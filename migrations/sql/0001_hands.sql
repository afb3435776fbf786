-- What operators do with workers, what they see of queues.

-- Takes back what a quarantined worker executes: each step is ready again at once. That is not the step's fault, so it
-- counts neither as an attempt nor as a kill. Returns how many steps that were.
CREATE FUNCTION take_back(p_name text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE s record; news record; taken integer := 0;
BEGIN
  FOR s IN SELECT t.tenant_id, t.run_id, t.key, t.tries FROM workers w
           JOIN run_steps t ON t.lease_boot = w.boot AND t.state || '' = 'running'
           WHERE w.hostname = p_name ORDER BY t.tenant_id, t.run_id, t.key
  LOOP
    SELECT * INTO news FROM finish_step(s.tenant_id, s.run_id, s.key, s.tries, 'killed', NULL, NULL,
      jsonb_build_object('code', 'worker_quarantined', 'message', 'an operator took it from its worker'), NULL);
    taken := taken + (news.verdict = 'finished')::integer;
  END LOOP;
  RETURN taken;
END $$;

-- What each queue has to do: sent are ready steps that a message carries; unsent those without one; waiting are runs
-- that are not admitted. Steps are counted up to ten thousand a state; ages are seconds of what waits longest.
CREATE FUNCTION queue_counts()
RETURNS TABLE (queue text, sent integer, running integer, unsent integer, waiting_runs integer, oldest_s double precision,
               oldest_run_s double precision, workers integer, slots integer) LANGUAGE sql STABLE AS $$
  WITH steps AS (
    SELECT s.queue, count(*) FILTER (WHERE s.kind = 'sent') AS sent, count(*) FILTER (WHERE s.kind = 'running') AS running,
           count(*) FILTER (WHERE s.kind = 'unsent') AS unsent, min(s.since) FILTER (WHERE s.kind <> 'running') AS since
    FROM (
      (SELECT a.queue, 'sent' AS kind, a.ready_at AS since FROM run_steps a
       WHERE a.state || '' = 'ready' AND a.sent_at IS NOT NULL ORDER BY a.ready_at LIMIT 10000)
      UNION ALL (SELECT b.queue, 'running', b.started_at FROM run_steps b WHERE b.state || '' = 'running' LIMIT 10000)
      UNION ALL (SELECT c.queue, 'unsent', c.ready_at FROM run_steps c
                 JOIN runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id
                   AND (r.state IN ('queued', 'running') AND r.admitted_at IS NOT NULL OR r.state = 'compensating')
                 WHERE c.state || '' = 'ready' AND c.sent_at IS NULL ORDER BY c.ready_at LIMIT 10000)) s
    GROUP BY s.queue
  ), waiting AS (
    SELECT f.pool AS queue, sum(w.number) AS runs, min(w.since) AS since
    FROM fair_queues f CROSS JOIN LATERAL (
      SELECT count(*) AS number, min(r.created_at) AS since FROM (
        SELECT created_at FROM runs r WHERE r.tenant_id = f.tenant_id AND r.pool = f.pool AND r.admitted_at IS NULL
          AND NOT r.held_by_key AND r.state || '' IN ('queued', 'running') LIMIT 10000) r) w
    WHERE f.listed GROUP BY f.pool HAVING sum(w.number) > 0
  ), live AS (
    SELECT q.queue, count(*) AS workers, sum(greatest(jsonb_array_length(w.children), 1)) AS slots
    FROM workers w CROSS JOIN LATERAL unnest(w.queues) AS q (queue)
    WHERE w.state = 'live' AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'worker/' || w.hostname))
    GROUP BY q.queue
  )
  SELECT n.queue, coalesce(s.sent, 0)::integer, coalesce(s.running, 0)::integer, coalesce(s.unsent, 0)::integer,
         coalesce(w.runs, 0)::integer, extract(epoch FROM clock_timestamp() - s.since)::double precision,
         extract(epoch FROM clock_timestamp() - w.since)::double precision, coalesce(l.workers, 0)::integer,
         coalesce(l.slots, 0)::integer
  FROM (SELECT queue FROM steps UNION SELECT queue FROM waiting UNION SELECT queue FROM live
        UNION SELECT u.queue FROM workers o CROSS JOIN LATERAL unnest(o.queues) AS u (queue) WHERE o.state = 'live'
       ) AS n (queue)
  LEFT JOIN steps s ON s.queue = n.queue LEFT JOIN waiting w ON w.queue = n.queue
  LEFT JOIN live l ON l.queue = n.queue
  ORDER BY n.queue
$$;
