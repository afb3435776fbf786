-- The three roles belong to the cluster: whoever sets it up creates them. The owner needs no CREATEROLE.
DO $$
DECLARE missing text;
BEGIN
  SELECT string_agg(name, ', ') INTO missing
  FROM unnest(ARRAY['quantum_owner', 'quantum_app', 'quantum_system']) name
  WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'the cluster lacks the roles %', missing
      USING HINT = 'create them first: CREATE ROLE quantum_app LOGIN NOINHERIT PASSWORD ...', ERRCODE = 'QP003';
  END IF;
END $$;
