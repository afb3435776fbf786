-- The outbox: writing, numbering, relaying.

-- What a run does hangs below the run's own span, whose id is the second half of the run's: so every process can name it,
-- and before it has ended.
CREATE FUNCTION trace_below(p_trace text, p_run uuid) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT left(p_trace, 36) || right(replace(p_run::text, '-', ''), 16) || right(p_trace, 3)
$$;

CREATE FUNCTION if_sampled(p_trace text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN right(p_trace, 1) = '1' THEN p_trace END
$$;

-- Called under the aggregate's row lock with the sequence taken there, so that per subject order of seq is order of
-- commit. The clock is read here, not at the transaction's start, for the same reason.
CREATE FUNCTION emit_event(p_tenant uuid, p_subject text, p_seq integer, p_type text, p_data jsonb, p_actor jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO events (tenant_id, subject, seq, type, data, actor, shard, trace)
  VALUES (p_tenant, p_subject, p_seq, 'io.quantum.' || p_type, p_data, p_actor, event_shard(p_tenant, p_subject),
          CASE WHEN p_subject LIKE 'runs/________-____-____-____-____________' THEN (
            SELECT if_sampled(r.trace) FROM runs r
            WHERE r.tenant_id = p_tenant AND r.id = substr(p_subject, 6)::uuid) END);
END $$;

-- All events of one subject go through one shard, hence to one relay at a time. Stored in the row, so that a hash
-- that changes with a server upgrade cannot move the events already written.
CREATE FUNCTION event_shard(p_tenant uuid, p_subject text) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (hashtextextended(p_tenant::text || p_subject, 0) & 7)::smallint
$$;

-- Gives committed rows their position. One sequencer at a time: its lock is held until its commit is visible, so
-- positions become visible in order and a reader that saw n never misses a lower one. A lower seq that commits
-- late is impossible within a subject; between subjects it simply gets the later position.
-- The running maximum keeps a subject in seq order even when the clock stepped back.
CREATE FUNCTION sequence_events(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE numbered integer;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('quantum.sequence_events')) THEN
    RETURN 0;
  END IF;
  WITH oldest AS MATERIALIZED (
    SELECT tenant_id, subject, min(seq) AS first, max(seq) AS seq
    FROM (SELECT tenant_id, subject, seq FROM events WHERE position IS NULL ORDER BY created_at LIMIT p_limit) first
    GROUP BY tenant_id, subject
  ), ranked AS MATERIALIZED (
    SELECT e.tenant_id, e.subject, e.seq,
           max(e.created_at) OVER (PARTITION BY e.tenant_id, e.subject ORDER BY e.seq) AS moment
    FROM oldest o
    -- The numbered ones of a subject come before all others, so one step down finds where they end: a subject with
    -- a long history costs no more than one without.
    CROSS JOIN LATERAL (
      SELECT coalesce(max(below.seq), -1) AS seq FROM (
        SELECT p.seq FROM events p
        WHERE p.tenant_id = o.tenant_id AND p.subject = o.subject AND p.seq < o.first AND coalesce(p.position, 0) > 0
        ORDER BY p.seq DESC LIMIT 1
      ) below
    ) numbered
    JOIN events e ON e.tenant_id = o.tenant_id AND e.subject = o.subject
      AND e.seq > numbered.seq AND e.seq <= o.seq
    WHERE coalesce(e.position, 0) = 0  -- by key, not by the list of unnumbered events, for each of them
  ), placed AS MATERIALIZED (
    SELECT tenant_id, subject, seq, nextval('event_positions') AS position
    FROM (SELECT * FROM ranked ORDER BY moment, tenant_id, subject, seq) ordered
  )
  UPDATE events e SET position = p.position
  FROM placed p WHERE e.tenant_id = p.tenant_id AND e.subject = p.subject AND e.seq = p.seq
    AND coalesce(e.position, 0) = 0;
  GET DIAGNOSTICS numbered = ROW_COUNT;
  -- Here, not in the business transactions: NOTIFY serialises the commits of all that use it.
  IF numbered > 0 THEN
    PERFORM pg_notify('quantum_events', '');
  END IF;
  RETURN numbered;
END $$;

