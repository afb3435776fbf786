-- Key rotation: which key wraps what is counted across tenants, a tenant's key is wrapped anew by the tenant's own session.

CREATE INDEX tenant_keys_kek ON tenant_keys (kek_id, tenant_id);
CREATE INDEX audit_seals_key ON audit_seals (key_id, created_at);

CREATE POLICY system_counts ON tenant_keys FOR SELECT TO quantum_system USING (true);

GRANT UPDATE (kek_id, nonce, wrapped_key) ON tenant_keys TO quantum_app;
GRANT SELECT (tenant_id, kek_id) ON tenant_keys TO quantum_system;
