"""The sealing of new audit records into their tenant's chain."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from app.db import audit_seals
from app.db.audit_seals import Seal
from app.db.engine import Database
from app.observability.logging import get_log
from app.security.audit_chain import BEGINNING, AuditKey

log = get_log(__name__)

RECORDS_PER_SEAL: Final = 5_000
SEALS_AT_ONCE: Final = 20
"""Of one tenant in one pass, so that the others come to their turn."""


def seal_audit(system: Database, key: AuditKey) -> int:
    """Seal what waits, each tenant in transactions of its own; return how many records were sealed.

    Safe when two run at once. Each new seal is logged, so that a copy of the chain's end leaves the database
    with the logs. Raises Unavailable.
    """
    with system.system() as connection:
        waiting = audit_seals.tenants_waiting(connection)
    return sum(_seal_tenant(system, key, tenant_id) for tenant_id in waiting)


def _seal_tenant(system: Database, key: AuditKey, tenant_id: UUID) -> int:
    total = 0
    for _ in range(SEALS_AT_ONCE):
        records = _seal_once(system, key, tenant_id)
        total += records
        if records < RECORDS_PER_SEAL:
            break
    return total


def _seal_once(system: Database, key: AuditKey, tenant_id: UUID) -> int:
    with system.system() as connection:
        if not audit_seals.lock_chain(connection, tenant_id):
            return 0
        before = audit_seals.last(connection, tenant_id)
        seq, previous = (before.seq + 1, before.mac) if before else (1, BEGINNING)
        records = audit_seals.stamp(connection, tenant_id, seq, RECORDS_PER_SEAL)
        if not records:
            return 0
        # Read back, not taken from the update: records forged under this number before are to show.
        found = audit_seals.contents(connection, tenant_id, seq, seq)[seq]
        mac = key.mac(key.key_id, tenant_id, seq, previous, records, found.digest)
        audit_seals.add(connection, tenant_id, Seal(seq, records, found.digest, mac, key.key_id))
    log.info("audit_sealed", tenant_id=str(tenant_id), seq=seq, records=records, mac=mac.hex())
    return records
