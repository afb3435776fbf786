-- Feature flags: which there are stands in app/domain/flags.py; rows tell what operators said of them.

CREATE TABLE feature_flags (
  name text PRIMARY KEY CHECK (name ~ '^[a-z_]{1,64}$'),
  killed boolean NOT NULL DEFAULT false,
  percentage numeric(5, 2) CHECK (percentage BETWEEN 0 AND 100),
  reason text NOT NULL DEFAULT '',
  version integer NOT NULL DEFAULT 1,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE flag_overrides (
  tenant_id uuid NOT NULL REFERENCES tenants,
  name text NOT NULL,
  enabled boolean NOT NULL,
  reason text NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, name)
);
CREATE INDEX flag_overrides_name ON flag_overrides (name, tenant_id);

GRANT SELECT ON feature_flags, flag_overrides TO quantum_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON feature_flags, flag_overrides TO quantum_system;
