-- The acceptance of submissions as one statement, hence one round trip with its commit: the keys of the requests are
-- claimed, their answers kept, their work declared, or nothing of it. Requests of one tenant that come at the same
-- time share it.

-- p_requests: one object a request, in order, with the actor; of one with a key, what to keep: user, route, key,
-- request_hash, status, headers, body, kept. Two of one key must not come together. p_items: as declare_intents takes
-- them, n is the request's place, 0 unless it is there. others: what became of the requests that were not accepted, by place: answered
-- (with the first answer of the key), or busy (another request of this key is being answered). held: the runs that
-- wait for admission.
CREATE FUNCTION accept_intents(p_tenant uuid, p_requests jsonb, p_items jsonb, OUT others jsonb, OUT held uuid[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE tenant text := set_config('app.tenant_id', p_tenant::text, true); claimed text[]; items jsonb := p_items;
BEGIN
  IF p_requests @? '$[*].key' THEN
    -- Who has the lock inserts, or meets a row that is committed: nobody waits for another request.
    WITH kept AS (
      INSERT INTO idempotency_keys AS k
             (tenant_id, actor, route, key, request_hash, status, headers, body, expires_at)
      SELECT p_tenant, r."user", r.route, r.key, r.request_hash, r.status, r.headers, r.body,
             clock_timestamp() + r.kept
      FROM jsonb_to_recordset(p_requests) AS r ("user" text, route text, key text, request_hash text, status integer,
           headers jsonb, body text, kept interval)
      WHERE CASE WHEN r.key IS NOT NULL THEN pg_try_advisory_xact_lock(
        hashtextextended(concat_ws('|', p_tenant::text, r."user", r.route, r.key), 20)) END
      ON CONFLICT (tenant_id, actor, route, key) DO UPDATE
         SET request_hash = excluded.request_hash, status = excluded.status, headers = excluded.headers,
             body = excluded.body, created_at = clock_timestamp(), expires_at = excluded.expires_at
         WHERE k.expires_at <= clock_timestamp()
      RETURNING concat_ws(chr(10), k.actor, k.route, k.key) AS name
    ) SELECT array_agg(k.name) INTO claimed FROM kept k;
    IF cardinality(coalesce(claimed, '{}')) < jsonb_array_length(jsonb_path_query_array(p_requests, '$[*].key')) THEN
      SELECT jsonb_object_agg(r.n - 1, CASE WHEN k.key IS NULL THEN '{"verdict": "busy"}' ELSE jsonb_build_object(
               'verdict', 'answered', 'request_hash', k.request_hash, 'status', k.status, 'headers', k.headers,
               'body', k.body) END) INTO others
      FROM ROWS FROM (jsonb_to_recordset(p_requests) AS ("user" text, route text, key text)) WITH ORDINALITY
        AS r ("user", route, key, n)
      LEFT JOIN idempotency_keys k ON k.tenant_id = p_tenant AND k.actor = r."user" AND k.route = r.route
        AND k.key = r.key AND k.expires_at > clock_timestamp()
      WHERE r.key IS NOT NULL AND concat_ws(chr(10), r."user", r.route, r.key) <> ALL (coalesce(claimed, '{}'));
      SELECT coalesce(jsonb_agg(i), '[]') INTO items FROM jsonb_array_elements(p_items) i WHERE NOT others ? coalesce(i ->> 'n', '0');
    END IF;
  END IF;
  IF items <> '[]' THEN
    -- An assignment, not a SELECT: it starts no statement of its own.
    held := nullif(declare_intents(p_tenant, jsonb_path_query_array(p_requests, '$[*].actor'), items), '{}');
  END IF;
END $$;
