"""How many things of a kind a tenant keeps, held still while some are added."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.caps import USUAL
from app.domain.errors import CapReached

_COUNTED: Final = {
    **{kind: f"{kind} x WHERE" for kind in USUAL},
    "planned_firings": "schedule_firings x WHERE outcome || '' = 'planned' AND",
    "bulk_actions": "bulk_actions x WHERE state IN ('running', 'paused') AND",
}
"""What stands behind FROM for each kind, up to the condition on the tenant."""

_HOLD: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('quantum.cap ' || :what || ' ' || :tenant, 45))"
)
_OWN: Final = text("SELECT CAST(caps ->> :kind AS integer) FROM tenant_limits WHERE tenant_id = :tenant")


def hold(connection: Connection, tenant_id: UUID, what: str) -> None:
    """Keep others from adding what is called so to the tenant until this transaction ends."""
    connection.execute(_HOLD, {"what": what, "tenant": str(tenant_id)})


@contextmanager
def room(connection: Connection, tenant_id: UUID, *kinds: str) -> Iterator[None]:
    """Let the body add things of these kinds, one transaction of the tenant at a time.

    Raises CapReached behind it when more are there than may be: who adds nothing is not refused, and a name
    that is taken is told as such. It is entered before any row of the kinds is locked.
    """
    # One order for all who hold several; counted by statements of their own, whose snapshots see what the
    # holder before has committed.
    for kind in sorted(kinds):
        hold(connection, tenant_id, kind)
    before = {kind: count(connection, tenant_id, kind) for kind in kinds}
    yield
    for kind, had in before.items():
        has, most = count(connection, tenant_id, kind), _most(connection, tenant_id, kind)
        if has > had and has > most:
            raise CapReached(kind, most, had, has - had)


def count(connection: Connection, tenant_id: UUID, kind: str) -> int:
    """Return how many things of the kind the tenant keeps."""
    statement = f"SELECT count(*) FROM {_COUNTED[kind]} x.tenant_id = :tenant"  # noqa: S608 - our own constants
    return int(connection.execute(text(statement), {"tenant": tenant_id}).scalar_one())


def uses(connection: Connection, tenant_id: UUID) -> dict[str, int]:
    """Return how many things of each kind the tenant keeps."""
    return {kind: count(connection, tenant_id, kind) for kind in USUAL}


def _most(connection: Connection, tenant_id: UUID, kind: str) -> int:
    own = connection.execute(_OWN, {"tenant": tenant_id, "kind": kind}).scalar()
    return USUAL[kind] if own is None else int(own)
