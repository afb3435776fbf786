"""What a tenant may have at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.caps import CapUse


@dataclass(frozen=True, slots=True)
class Limits:
    """A tenant's share with its limits; None is unlimited, version 0 says that nobody has set them.

    `caps` are those that are not as usual; `pools`, those dedicated to the tenant, and `cap_uses` are told
    where somebody asked for them.
    """

    weight: int = 1
    max_running_runs: int | None = None
    max_running_steps: int | None = None
    caps: Mapping[str, int] = field(default_factory=dict)
    version: int = 0
    updated_at: datetime | None = None
    pools: tuple[str, ...] = ()
    cap_uses: Mapping[str, CapUse] = field(default_factory=dict)


_FIND: Final = text(
    "SELECT weight, max_running_runs, max_running_steps, caps, version, updated_at FROM tenant_limits"
    " WHERE tenant_id = :tenant"
)
_MAKE: Final = text(
    "INSERT INTO tenant_limits (tenant_id, version) VALUES (:tenant, 0) ON CONFLICT DO NOTHING"
)
_LOCK: Final = text("SELECT 1 FROM tenant_limits WHERE tenant_id = :tenant FOR UPDATE")
_SET: Final = text(
    "UPDATE tenant_limits SET weight = :weight, max_running_runs = :runs, max_running_steps = :steps,"
    " caps = CAST(:caps AS jsonb), version = version + 1, updated_at = clock_timestamp()"
    " WHERE tenant_id = :tenant"
)
_UNDER_WAY: Final = text(
    "SELECT r.id FROM runs r WHERE r.tenant_id = :tenant"
    " AND r.state IN ('queued', 'running', 'pausing', 'compensating') ORDER BY r.id"
)


def find(connection: Connection, tenant_id: UUID) -> Limits:
    """Return the tenant's limits, the usual ones when nobody has set any."""
    row = connection.execute(_FIND, {"tenant": tenant_id}).first()
    return Limits(*row) if row is not None else Limits()


def lock(connection: Connection, tenant_id: UUID) -> Limits:
    """Return the tenant's limits, made if need be, their row locked: nobody is admitted meanwhile."""
    connection.execute(_MAKE, {"tenant": tenant_id})
    connection.execute(_LOCK, {"tenant": tenant_id})
    return find(connection, tenant_id)


def change(connection: Connection, tenant_id: UUID, wanted: Limits) -> Limits:
    """Set the limits, count their version up, let the tenant's waiting runs be looked at again."""
    connection.execute(text("SELECT lock_places(:tenant)"), {"tenant": tenant_id})
    values = {
        "weight": wanted.weight,
        "runs": wanted.max_running_runs,
        "steps": wanted.max_running_steps,
        "caps": json.dumps(dict(wanted.caps)),
    }
    connection.execute(_SET, {"tenant": tenant_id, **values})
    connection.execute(text("SELECT unpark(:tenant)"), {"tenant": tenant_id})
    return find(connection, tenant_id)


def runs_under_way(connection: Connection, tenant_id: UUID) -> list[UUID]:
    """Return the runs of the tenant that a message may carry on."""
    return [row[0] for row in connection.execute(_UNDER_WAY, {"tenant": tenant_id})]


def gate_run(connection: Connection, tenant_id: UUID, run_id: UUID) -> None:
    """Let each further step of the run need a place, whatever was sent before there was the limit."""
    connection.execute(text("SELECT gate_run(:tenant, :run)"), {"tenant": tenant_id, "run": run_id})
