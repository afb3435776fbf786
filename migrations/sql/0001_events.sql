-- The outbox: writing, numbering, relaying.

-- Called under the aggregate's row lock with the sequence taken there, so that per subject order of seq is order of
-- commit. The clock is read here, not at the transaction's start, for the same reason.
CREATE FUNCTION emit_event(p_tenant uuid, p_subject text, p_seq integer, p_type text, p_data jsonb, p_actor jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO events (tenant_id, subject, seq, type, data, actor, shard)
  VALUES (p_tenant, p_subject, p_seq, 'io.quantum.' || p_type, p_data, p_actor, event_shard(p_tenant, p_subject));
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
    SELECT tenant_id, subject, max(seq) AS seq
    FROM (SELECT tenant_id, subject, seq FROM events WHERE position IS NULL ORDER BY created_at LIMIT p_limit) first
    GROUP BY tenant_id, subject
  ), ranked AS MATERIALIZED (
    SELECT e.tenant_id, e.subject, e.seq,
           max(e.created_at) OVER (PARTITION BY e.tenant_id, e.subject ORDER BY e.seq) AS moment
    FROM events e JOIN oldest o ON e.tenant_id = o.tenant_id AND e.subject = o.subject AND e.seq <= o.seq
    WHERE e.position IS NULL
  ), placed AS MATERIALIZED (
    SELECT tenant_id, subject, seq, nextval('event_positions') AS position
    FROM (SELECT * FROM ranked ORDER BY moment, tenant_id, subject, seq) ordered
  )
  UPDATE events e SET position = p.position
  FROM placed p WHERE e.tenant_id = p.tenant_id AND e.subject = p.subject AND e.seq = p.seq AND e.position IS NULL;
  GET DIAGNOSTICS numbered = ROW_COUNT;
  RETURN numbered;
END $$;

-- Relays lease shards, never rows: two relays on one shard could publish a subject out of order. A relay keeps what
-- it has and takes free ones until it has p_max; the answer is all it holds now.
CREATE FUNCTION claim_shards(p_sink text, p_owner text, p_lease interval, p_max integer)
RETURNS TABLE (shard smallint, "position" bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE held integer;
BEGIN
  INSERT INTO relay_cursors (sink, shard) SELECT p_sink, n FROM generate_series(0, 7) n
  ON CONFLICT DO NOTHING;
  -- What is over the share goes back, so that a second relay gets work.
  UPDATE relay_cursors SET owner = NULL, lease_until = NULL
  WHERE sink = p_sink AND owner = p_owner
    AND shard IN (SELECT c.shard FROM relay_cursors c WHERE c.sink = p_sink AND c.owner = p_owner
                  ORDER BY c.shard OFFSET p_max);
  UPDATE relay_cursors SET lease_until = clock_timestamp() + p_lease WHERE sink = p_sink AND owner = p_owner;
  GET DIAGNOSTICS held = ROW_COUNT;
  UPDATE relay_cursors SET owner = p_owner, lease_until = clock_timestamp() + p_lease
  WHERE sink = p_sink AND shard IN (
    SELECT c.shard FROM relay_cursors c
    WHERE c.sink = p_sink AND (c.owner IS NULL OR c.lease_until < clock_timestamp())
    ORDER BY c.shard LIMIT greatest(p_max - held, 0) FOR UPDATE SKIP LOCKED);
  RETURN QUERY SELECT c.shard, c.position FROM relay_cursors c
               WHERE c.sink = p_sink AND c.owner = p_owner ORDER BY c.shard;
END $$;

-- The next numbered events of a shard this owner holds; no rows for anybody else.
CREATE FUNCTION read_shard(p_sink text, p_shard smallint, p_owner text, p_limit integer)
RETURNS SETOF events LANGUAGE plpgsql AS $$
DECLARE start bigint;
BEGIN
  SELECT c.position INTO start FROM relay_cursors c
  WHERE c.sink = p_sink AND c.shard = p_shard AND c.owner = p_owner AND c.lease_until > clock_timestamp();
  IF FOUND THEN
    RETURN QUERY SELECT e.* FROM events e WHERE e.shard = p_shard AND e.position > start
                 ORDER BY e.position LIMIT p_limit;
  END IF;
END $$;

-- Moves the cursor forward after publishing; false when the lease has passed to another relay.
CREATE FUNCTION advance_cursor(p_sink text, p_shard smallint, p_owner text, p_position bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE relay_cursors SET position = p_position, updated_at = clock_timestamp()
  WHERE sink = p_sink AND shard = p_shard AND owner = p_owner AND lease_until > clock_timestamp()
    AND position <= p_position;
  RETURN FOUND;
END $$;

-- Moves the cursor back, because the sink has forgotten what came after: the same events go out again.
CREATE FUNCTION rewind_cursor(p_sink text, p_shard smallint, p_owner text, p_position bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE relay_cursors SET position = least(position, p_position), updated_at = clock_timestamp()
  WHERE sink = p_sink AND shard = p_shard AND owner = p_owner AND lease_until > clock_timestamp();
  RETURN FOUND;
END $$;

-- A relay that stops gives its shards back at once.
CREATE FUNCTION release_shards(p_sink text, p_owner text) RETURNS void LANGUAGE sql AS $$
  UPDATE relay_cursors SET owner = NULL, lease_until = NULL WHERE sink = p_sink AND owner = p_owner
$$;
