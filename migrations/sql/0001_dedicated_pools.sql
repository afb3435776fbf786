-- Pools that belong to one tenant: nobody else may name them in what it registers or submits.
CREATE TABLE dedicated_pools (
  tenant_id uuid NOT NULL REFERENCES tenants,
  pool text NOT NULL UNIQUE CHECK (pool ~ '^[a-z][a-z0-9_-]{0,62}$' AND pool <> 'default'),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, pool)
);

-- Which of these pools belong to another tenant. A tenant sees its own rows only, so this looks for it: it learns
-- that a pool is taken, not by whom.
CREATE FUNCTION foreign_pools(p_tenant uuid, p_pools text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT d.pool FROM public.dedicated_pools d
  WHERE d.pool = ANY (p_pools) AND d.tenant_id <> p_tenant ORDER BY d.pool
$$;
REVOKE ALL ON FUNCTION foreign_pools(uuid, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION foreign_pools(uuid, text[]) TO quantum_app;
CREATE POLICY owner_looks ON dedicated_pools FOR SELECT TO quantum_owner USING (true);

GRANT SELECT ON dedicated_pools TO quantum_app;
GRANT SELECT, INSERT, DELETE ON dedicated_pools TO quantum_system;
