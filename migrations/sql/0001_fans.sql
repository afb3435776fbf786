-- The places of a foreach step with max_parallel. An item beyond them is pending with a need of its own: a place. An
-- item that ends hands its place on in the same transaction, under the run's lock, so as many are under way as before.

-- The place of an ended item goes to the first one that waits for it. Items are released in order, so none that waits
-- stands before one that had a place: the search begins behind it, in a list of those that wait. True: it is ready now
-- and no message carries it. An item of a lot hands its place on within the lot: the next one is loose, and whoever ended
-- this one takes it in the same commit (0001_lots.sql). Not where a place may be due to another run (a limit of steps),
-- not where somebody other than the holder of the message ended the item, and not where that one may begin nothing.
CREATE FUNCTION pass_place(p_run runs, p_fan run_steps, p_item run_steps) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  onward boolean := p_item.lot IS NOT NULL AND p_run.state = 'running' AND p_run.held_steps IS NULL
    AND coalesce(p_item.error ->> 'code', '') NOT IN ('skipped', 'poisoned', 'timeout')
    AND NOT EXISTS (SELECT 1 FROM holds h
                    WHERE h.name IN ('*', 'tenant/' || p_item.tenant_id, 'worker/' || p_item.worker));
BEGIN
  -- An item that was skipped while it waited had no place; and none waits when fewer are open than there are places.
  IF p_item.needs_left > 0 OR p_fan.needs_left < (p_fan.input ->> 'max_parallel')::integer THEN
    RETURN false;
  END IF;
  UPDATE run_steps SET state = 'ready', needs_left = 0, ready_at = clock_timestamp(), loose = onward,
         sent_at = CASE WHEN onward THEN clock_timestamp() END, dispatch_epoch = dispatch_epoch + onward::integer,
         lot = CASE WHEN onward THEN p_item.lot ELSE lot END,
         broker_epoch = CASE WHEN onward THEN p_item.broker_epoch ELSE broker_epoch END
  WHERE tenant_id = p_item.tenant_id AND run_id = p_item.run_id AND key = (
    SELECT i.key FROM run_steps i
    WHERE i.tenant_id = p_item.tenant_id AND i.run_id = p_item.run_id AND i.base = p_item.base
      AND i.item > p_item.item AND i.state || '' = 'pending' ORDER BY i.item LIMIT 1);
  RETURN FOUND AND NOT onward;
END $$;

-- Which of these keys are items that have to wait for a place when all of them run again.
CREATE FUNCTION without_place(p_run runs, p_keys text[]) RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT o.key FROM (
    SELECT i.key, (f.input ->> 'max_parallel')::integer AS places,
           row_number() OVER (PARTITION BY i.base ORDER BY i.item) AS place
    FROM unnest(p_keys) k
    JOIN run_steps i ON i.tenant_id = p_run.tenant_id AND i.run_id = p_run.id AND i.key = k AND i.item IS NOT NULL
    JOIN run_steps f ON f.tenant_id = p_run.tenant_id AND f.run_id = p_run.id AND f.key = i.base
  ) o WHERE o.place > o.places
$$;

-- A fan's output: its items' outputs in order. Those of many items that measure more than 64 MiB together are not read:
-- PostgreSQL would refuse the document, and whoever asked would ask again for ever. In their place stands a reference to
-- nothing (app/domain/artifacts.py), for which the step that refers to them fails.
CREATE FUNCTION fan_output(p_tenant uuid, p_run uuid, p_base text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE size bigint;
BEGIN
  IF EXISTS (SELECT 1 FROM run_steps WHERE tenant_id = p_tenant AND run_id = p_run AND base = p_base AND item >= 256) THEN
    SELECT sum(octet_length(i.output::text)) INTO size FROM run_steps i
    WHERE i.tenant_id = p_tenant AND i.run_id = p_run AND i.base = p_base AND i.item IS NOT NULL AND i.state <> 'cancelled';
    IF size > 67108864 THEN
      RETURN jsonb_build_object('$artifact', jsonb_build_object('sha256', repeat('0', 64), 'bytes', size,
                                                                'content_type', 'application/vnd.quantum.value+json'));
    END IF;
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(i.output ORDER BY i.item), '[]') FROM run_steps i
          WHERE i.tenant_id = p_tenant AND i.run_id = p_run AND i.base = p_base AND i.item IS NOT NULL
            AND i.state <> 'cancelled');
END $$;
