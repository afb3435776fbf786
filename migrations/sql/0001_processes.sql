-- Who works on the schema, of which release: what keeps a contract from taking away what is still used.

-- Every process that serves has a row while it lives: it writes it before it begins, every few seconds, and removes it
-- when it ends in good order.
CREATE TABLE processes (
  boot uuid PRIMARY KEY,
  kind text NOT NULL CHECK (length(kind) BETWEEN 1 AND 50),
  host text NOT NULL,
  pid integer NOT NULL,
  release text NOT NULL,
  revision text NOT NULL, -- the newest that its release knows: what later contracts take away it may use
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The last contract that was begun: no release that does not know it may work here any more.
CREATE TABLE schema_floor (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  revision text NOT NULL DEFAULT ''
);
INSERT INTO schema_floor DEFAULT VALUES;

-- A process says that it lives; the answer is whether it may work on the schema as it is: 'welcome', 'too_old' when a
-- contract has left its release behind, 'too_new' before the last expand of its release (p_needs) was applied. The lock is
-- that of whoever raises the floor: a process that was welcome is seen by it.
CREATE FUNCTION attend(p_boot uuid, p_kind text, p_host text, p_pid integer, p_release text, p_revision text, p_needs text)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtext('quantum.attend'));
  IF p_revision < (SELECT f.revision FROM schema_floor f) THEN
    DELETE FROM processes WHERE boot = p_boot;
    RETURN 'too_old';
  END IF;
  IF p_needs > coalesce((SELECT max(version_num) FROM alembic_version), '') THEN
    RETURN 'too_new';
  END IF;
  INSERT INTO processes (boot, kind, host, pid, release, revision)
  VALUES (p_boot, p_kind, p_host, p_pid, p_release, p_revision)
  ON CONFLICT (boot) DO UPDATE SET seen_at = clock_timestamp();
  RETURN 'welcome';
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON processes TO quantum_system;
GRANT SELECT ON schema_floor, alembic_version TO quantum_system;
