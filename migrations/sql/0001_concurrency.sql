-- Concurrency keys: of the runs of a tenant with one key no more than its limit are under way. A run under way has its
-- place under the key from the moment held_by_key is false, which is before its admission, until it has ended or rests.
-- Who gives such places holds the key's row. Lock order: tenant's limits, key, run; who holds a run never waits for a key.

CREATE TABLE concurrency_keys (
  tenant_id uuid NOT NULL REFERENCES tenants,
  key text NOT NULL,
  due_at timestamptz, -- when to look whether a held run may have a place; null while none is held
  used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, key)
) WITH (fillfactor = 50);
CREATE INDEX concurrency_keys_due ON concurrency_keys (due_at) WHERE due_at IS NOT NULL;

-- Locks the keys, in order, until the caller commits; one that is pruned at this moment is made again.
CREATE FUNCTION lock_keys(p_tenant uuid, p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text;
BEGIN
  FOR name IN SELECT DISTINCT k FROM unnest(p_keys) k ORDER BY k LOOP
    LOOP
      INSERT INTO concurrency_keys (tenant_id, key) VALUES (p_tenant, name) ON CONFLICT DO NOTHING;
      PERFORM 1 FROM concurrency_keys WHERE tenant_id = p_tenant AND key = name FOR NO KEY UPDATE;
      EXIT WHEN FOUND;
    END LOOP;
  END LOOP;
END $$;

-- Runs with a place under the key.
CREATE FUNCTION key_taken(p_tenant uuid, p_key text) RETURNS integer LANGUAGE sql AS $$
  SELECT count(*)::integer FROM runs r WHERE r.tenant_id = p_tenant AND r.concurrency_key = p_key AND NOT r.held_by_key
    AND r.state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating')
$$;

CREATE FUNCTION key_awaited(p_tenant uuid, p_key text) RETURNS boolean LANGUAGE sql AS $$
  SELECT EXISTS (SELECT 1 FROM runs r WHERE r.tenant_id = p_tenant AND r.concurrency_key = p_key AND r.held_by_key
    AND r.state || '' IN ('queued', 'running'))
$$;

-- Which of new runs get no place under their keys: those beyond the limit, and all that come while others wait.
CREATE FUNCTION blocked_by_key(p_tenant uuid, p_items jsonb) RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
  IF NOT p_items @> '[{"concurrency": {}}]' THEN
    RETURN '{}';
  END IF;
  PERFORM lock_keys(p_tenant, ARRAY(SELECT i.item -> 'concurrency' ->> 'key' FROM jsonb_array_elements(p_items) i (item)
                                    WHERE i.item -> 'concurrency' ->> 'key' IS NOT NULL));
  RETURN ARRAY(
    WITH keyed AS MATERIALIZED (
      SELECT (i.item ->> 'run_id')::uuid AS run_id, i.item -> 'concurrency' ->> 'key' AS key,
             (i.item -> 'concurrency' ->> 'limit')::integer AS most
      FROM jsonb_array_elements(p_items) AS i (item) WHERE i.item -> 'concurrency' ->> 'key' IS NOT NULL
    ), used AS MATERIALIZED (
      SELECT k.key, CASE WHEN key_awaited(p_tenant, k.key) THEN 2147483647 ELSE key_taken(p_tenant, k.key) END AS taken
      FROM (SELECT DISTINCT key FROM keyed) k
    ), placed AS (
      SELECT k.run_id, k.most - u.taken AS free, row_number() OVER (PARTITION BY k.key ORDER BY k.run_id) AS place
      FROM keyed k JOIN used u ON u.key = k.key
    ) SELECT p.run_id FROM placed p WHERE p.place > p.free);
END $$;

-- What becomes of new runs without a place, by their on_full: queue waits; skip ends at once; cancel_oldest makes room,
-- so that of the runs with this key the newest stay. The caller holds the keys.
CREATE FUNCTION when_full(p_tenant uuid, p_items jsonb, p_blocked uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  i record; old uuid;
  platform jsonb := '{"user_id": null, "email": "platform"}';
BEGIN
  UPDATE concurrency_keys k SET due_at = clock_timestamp() FROM runs r
  WHERE r.tenant_id = p_tenant AND r.id = ANY (p_blocked) AND k.tenant_id = p_tenant AND k.key = r.concurrency_key;
  FOR i IN SELECT r.id, r.concurrency_key AS key, r.key_limit AS most, item -> 'concurrency' ->> 'on_full' AS on_full
           FROM jsonb_array_elements(p_items) item JOIN runs r ON r.tenant_id = p_tenant
            AND r.id = (item ->> 'run_id')::uuid
           WHERE r.id = ANY (p_blocked) ORDER BY r.id
  LOOP
    IF i.on_full = 'skip' THEN
      PERFORM cancel_run(p_tenant, i.id, platform, NULL, 'skipped: no place under the concurrency key ' || i.key);
    ELSIF i.on_full = 'cancel_oldest' THEN
      FOR old IN SELECT o.id FROM runs o WHERE o.tenant_id = p_tenant AND o.concurrency_key = i.key
                  AND o.state || '' IN ('queued', 'running', 'pausing') ORDER BY o.id DESC OFFSET i.most
      LOOP
        PERFORM cancel_run(p_tenant, old, platform, NULL, 'a newer run took its place under the concurrency key ' || i.key);
      END LOOP;
    END IF;
  END LOOP;
END $$;

-- A place under the key may be free. The caller holds a run, so it waits for nobody: a key that somebody else holds is
-- looked at when it is due.
CREATE FUNCTION touch_key(p_tenant uuid, p_key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE concurrency_keys SET due_at = clock_timestamp() WHERE tenant_id = p_tenant AND key IN (
    SELECT k.key FROM concurrency_keys k WHERE k.tenant_id = p_tenant AND k.key = p_key FOR UPDATE SKIP LOCKED);
END $$;

-- Gives free places of the keys that are due to the runs that wait for them: priority, then age. One at a time; not in
-- the transaction of an admission, since a submission that holds its tenant's limits may wait for what this lists.
CREATE FUNCTION unblock_keys(p_limit integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE k record; taken integer; found text[];
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('quantum.unblock_keys')) THEN
    RETURN;
  END IF;
  FOR k IN SELECT c.tenant_id, c.key FROM concurrency_keys c WHERE c.due_at <= clock_timestamp()
           ORDER BY c.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
  LOOP
    taken := key_taken(k.tenant_id, k.key);
    WITH next AS MATERIALIZED (
      SELECT r.id, r.priority, r.key_limit FROM runs r WHERE r.tenant_id = k.tenant_id AND r.concurrency_key = k.key
        AND r.held_by_key AND r.state || '' IN ('queued', 'running')
      ORDER BY r.priority DESC, r.id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
    ), placed AS (
      SELECT n.id, n.key_limit - taken - row_number() OVER (ORDER BY n.priority DESC, n.id) AS spare FROM next n
    ), given AS (
      UPDATE runs r SET held_by_key = false FROM placed p
      WHERE r.tenant_id = k.tenant_id AND r.id = p.id AND p.spare >= 0 RETURNING r.pool
    ) SELECT array_agg(DISTINCT g.pool) INTO found FROM given g;
    IF found IS NOT NULL THEN
      PERFORM list_waiting(k.tenant_id, found);
      PERFORM unpark(k.tenant_id); -- it may rest because it had nothing to give
    END IF;
    UPDATE concurrency_keys c SET used_at = clock_timestamp(), due_at = CASE WHEN key_awaited(c.tenant_id, c.key)
      THEN clock_timestamp() + interval '1 second' END
    WHERE c.tenant_id = k.tenant_id AND c.key = k.key;
  END LOOP;
END $$;

-- Makes the keys due under which runs wait although nobody is to look: a run came back from a pause or a retry when its
-- key's row was gone, or in the hands of somebody who saw no need for another look. Returns how many those were.
CREATE FUNCTION wake_keys() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE found integer;
BEGIN
  INSERT INTO concurrency_keys AS k (tenant_id, key, due_at)
  SELECT w.tenant_id, w.concurrency_key, clock_timestamp() FROM (
    SELECT DISTINCT r.tenant_id, r.concurrency_key FROM runs r
    WHERE r.concurrency_key IS NOT NULL AND r.held_by_key AND r.state || '' IN ('queued', 'running')) w ORDER BY 1, 2
  ON CONFLICT (tenant_id, key) DO UPDATE SET due_at = excluded.due_at WHERE k.due_at IS NULL;
  GET DIAGNOSTICS found = ROW_COUNT;
  RETURN found;
END $$;

-- Removes keys that no run has had for a while; returns their number. A submission that waits for one makes it again.
CREATE FUNCTION prune_keys(p_age interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE gone integer;
BEGIN
  DELETE FROM concurrency_keys c USING (
    SELECT k.tenant_id, k.key FROM concurrency_keys k
    WHERE k.due_at IS NULL AND k.used_at < clock_timestamp() - p_age AND key_taken(k.tenant_id, k.key) = 0
      AND NOT key_awaited(k.tenant_id, k.key)
    LIMIT 1000 FOR UPDATE SKIP LOCKED) old
  WHERE c.tenant_id = old.tenant_id AND c.key = old.key;
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;

GRANT SELECT, INSERT, UPDATE ON concurrency_keys TO quantum_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON concurrency_keys TO quantum_system;
