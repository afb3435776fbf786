-- The release that knows heeds has left.
CREATE OR REPLACE FUNCTION beat(p_boot uuid, p_hostname text, p_pid integer, p_version text, p_queues text[],
                                p_children jsonb, p_protocol integer DEFAULT 0, p_heeds text DEFAULT 'active')
RETURNS TABLE (tenant_id uuid, run_id uuid, key text, pid integer, born bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO workers (boot, hostname, pid, version, queues, children, protocol, obeys)
  VALUES (p_boot, p_hostname, p_pid, p_version, p_queues, p_children, p_protocol, p_heeds)
  ON CONFLICT (boot) DO UPDATE SET children = excluded.children, queues = excluded.queues, state = 'live',
    obeys = excluded.obeys, seen_at = clock_timestamp();
  PERFORM tick_clock();
  RETURN QUERY
    SELECT s.tenant_id, s.run_id, s.key, s.lease_pid, s.lease_born FROM run_steps s
    JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id AND r.state = 'cancelling'
    WHERE s.lease_boot = p_boot AND s.state || '' = 'running';
END $$;
ALTER TABLE workers DROP COLUMN heeds;
ALTER TABLE runs ADD CONSTRAINT runs_origin_known CHECK (origin IS NOT NULL) NOT VALID;
