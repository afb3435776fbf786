"""What a restored backup must show before it counts as verified, row counts aside."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import click

from app.artifacts.choice import artifact_store
from app.db.engine import Database
from app.db.migrate import foreign, latest_revision
from app.domain.errors import Unavailable
from app.domain.identity import Actor
from app.runtime.failure import RuntimeFailure
from app.security.audit_chain import AuditKey
from app.security.key_ring import KeyRing
from app.services.verify_artifacts import ArtifactReport, verify_artifacts
from app.services.verify_audit import verify_audit
from app.settings import Settings

SEALS_AT_ONCE = 1000
SHOWN = 20
ARTIFACTS = ("size", "content", "none")


def inspect(url: str, revision: str, settings: Settings, artifacts: str) -> None:
    """Look at a restored database: schema, audit trail, artifacts; raises `RuntimeFailure`."""
    wrong = foreign(url)
    if wrong:
        raise RuntimeFailure(f"the backup was {wrong}")
    if revision != latest_revision():
        click.echo(f"it stands at revision {revision}: `quantum migrate` brings it to {latest_revision()}")
    database = Database(url)
    try:
        _check_audit(database, AuditKey(KeyRing(settings.secrets_keys)))
        if artifacts != "none":
            _check_artifacts(database, settings, content=artifacts == "content")
    finally:
        database.dispose()


def _check_audit(database: Database, key: AuditKey) -> None:
    """Raise `RuntimeFailure` for a broken chain; seals of keys that are missing are told, no more can be."""
    closed: Counter[str] = Counter()
    for (tenant_id,) in database.call("SELECT DISTINCT tenant_id FROM audit_seals"):
        actor = Actor(UUID(str(tenant_id)), "", None, "backup", frozenset(), "backup")
        first: int | None = 1
        while first is not None:
            found = verify_audit(database, key, actor, first, SEALS_AT_ONCE)
            closed.update(fault.key_id for fault in found.faults if fault.key_id)
            broken = [fault for fault in found.faults if not fault.key_id]
            if broken:
                raise RuntimeFailure(f"audit trail of {tenant_id}: seal {broken[0].seq} {broken[0].message}")
            first = found.next
    for key_id, number in closed.items():
        click.echo(f"{number} seals of the audit trail are not checked: their key {key_id} is missing")


def _check_artifacts(copy: Database, settings: Settings, *, content: bool) -> None:
    """Raise `RuntimeFailure` that lists what the artifact store has lost."""
    store = artifact_store(settings)
    live = Database(settings.database_system_url, "system")
    try:
        try:
            found = verify_artifacts(copy, store, live, content=content)
        except Unavailable as away:
            if away.part != "database":
                raise RuntimeFailure(f"artifacts: {away.message}") from away
            # The platform is not there to ask: whatever is missing counts as lost.
            found = verify_artifacts(copy, store, None, content=content)
    finally:
        live.dispose()
    _tell(found)


def _tell(found: ArtifactReport) -> None:
    if found.lost:
        shown = [f"{each.tenant_id}/{each.sha256}: {each.reason}" for each in found.lost[:SHOWN]]
        more = [f"{len(found.lost) - SHOWN} more"] if len(found.lost) > SHOWN else []
        heading = f"{len(found.lost)} of {found.rows} artifacts are not in the store as their rows say"
        raise RuntimeFailure("\n  ".join([heading, *shown, *more]))
    since = f", {found.collected} collected since" if found.collected else ""
    click.echo(f"{found.rows} artifacts are in the store{since}")
