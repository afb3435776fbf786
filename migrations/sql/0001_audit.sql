-- The audit trail: writing a record, what a seal of the chain vouches for.

CREATE FUNCTION audit(p_tenant uuid, p_actor jsonb, p_action text, p_subject text, p_detail jsonb) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO audit_records (tenant_id, actor, action, subject, detail, request_id, source_ip)
  VALUES (p_tenant, p_actor, p_action, p_subject, p_detail, p_actor ->> 'request_id', p_actor ->> 'source_ip')
$$;

-- One line a seal: how many records carry it, and their digest. Arrays keep apart what concatenation would mix up;
-- the moment is a number, because its text depends on the session's time zone.
CREATE FUNCTION audit_digests(p_tenant uuid, p_first integer, p_last integer)
RETURNS TABLE (seq integer, records integer, digest bytea) LANGUAGE sql STABLE AS $$
  SELECT a.seal, count(*)::integer, sha256(convert_to(string_agg(jsonb_build_array(a.id, a.actor, a.action, a.subject,
           a.outcome, a.detail, a.request_id, a.source_ip, extract(epoch FROM a.created_at))::text, E'\n'
           ORDER BY a.id), 'UTF8'))
  FROM audit_records a WHERE a.tenant_id = p_tenant AND a.seal BETWEEN p_first AND p_last GROUP BY a.seal
$$;
