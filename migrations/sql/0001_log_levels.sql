-- Levels of loggers that operators set while the platform runs. A row without a level, or past its end, counts no more;
-- it is kept for a while, so that its version is not given twice.
CREATE TABLE log_levels (
  module text PRIMARY KEY CHECK (module ~ '^[A-Za-z_][A-Za-z0-9_.]{0,99}$'),
  level text CHECK (level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')),
  ends_at timestamptz,
  reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
  changed_by text NOT NULL DEFAULT '',
  version integer NOT NULL DEFAULT 1,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT ON log_levels TO quantum_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON log_levels TO quantum_system;
