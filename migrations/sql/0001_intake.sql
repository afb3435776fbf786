-- The acceptance of intents as one statement, hence one round trip with its commit: the request's key is claimed, its
-- answer kept, the work declared, or nothing of it.

-- Verdicts: accepted; answered (the first answer of this key comes with it); busy (another request of this key is being
-- answered). A caller without a key passes NULL for it. held: the runs of which nothing is written as sent; gated: some
-- of them go, each step when it has a place.
CREATE FUNCTION accept_intents(p_tenant uuid, p_actor jsonb, p_items jsonb, p_user text, p_route text, p_key text,
                               p_request_hash text, p_status integer, p_headers jsonb, p_body text, p_kept interval,
                               OUT verdict text, OUT request_hash text, OUT status integer, OUT headers jsonb,
                               OUT body text, OUT held uuid[], OUT gated boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE alone boolean;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  verdict := 'accepted';
  IF p_key IS NOT NULL THEN
    alone := pg_try_advisory_xact_lock(
      hashtextextended(concat_ws('|', p_tenant::text, p_user, p_route, p_key), 20));
    SELECT 'answered', k.request_hash, k.status, k.headers, k.body INTO verdict, request_hash, status, headers, body
    FROM idempotency_keys k
    WHERE k.tenant_id = p_tenant AND k.actor = p_user AND k.route = p_route AND k.key = p_key
      AND k.expires_at > clock_timestamp();
    IF FOUND THEN
      RETURN;
    END IF;
    verdict := CASE WHEN alone THEN 'accepted' ELSE 'busy' END;
    IF NOT alone THEN
      RETURN;
    END IF;
    INSERT INTO idempotency_keys AS k
           (tenant_id, actor, route, key, request_hash, status, headers, body, expires_at)
    VALUES (p_tenant, p_user, p_route, p_key, p_request_hash, p_status, p_headers, p_body,
            clock_timestamp() + p_kept)
    ON CONFLICT (tenant_id, actor, route, key) DO UPDATE
       SET request_hash = excluded.request_hash, status = excluded.status, headers = excluded.headers,
           body = excluded.body, created_at = clock_timestamp(), expires_at = excluded.expires_at;
  END IF;
  IF jsonb_array_length(p_items) > 0 THEN
    SELECT array_agg(d.run_id) FILTER (WHERE d.admitted IS NOT TRUE), bool_or(d.admitted IS NULL) INTO held, gated
    FROM declare_intents(p_tenant, p_actor, p_items) d;
  END IF;
END $$;
