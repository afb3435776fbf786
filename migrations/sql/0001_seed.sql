-- The six roles as data; their permissions are a fixed table of the platform.
INSERT INTO roles (name, description) VALUES
  ('platform_admin', 'Administers tenants, and everything of its own tenant'),
  ('tenant_admin', 'Administers the users, secrets, modules of one tenant'),
  ('operator', 'Watches runs, retries and cancels them'),
  ('developer', 'Submits intents, registers modules with workflows'),
  ('viewer', 'Reads the work of a tenant'),
  ('auditor', 'Reads the work with the audit records of a tenant');
