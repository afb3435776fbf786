-- Up to which position some of a tenant's events are no longer kept: a reader that stood before it has missed them.
CREATE TABLE event_floors (
  tenant_id uuid PRIMARY KEY,
  position bigint NOT NULL
);

GRANT SELECT ON event_floors TO quantum_app;
GRANT SELECT, INSERT, UPDATE ON event_floors TO quantum_system;
