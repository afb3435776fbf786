"""What operators said of feature flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.flags import FlagRule

SHOWN_TENANTS: Final = 100


@dataclass(frozen=True, slots=True)
class Override:
    """What holds for one tenant, whatever the percentage says."""

    tenant_id: UUID
    enabled: bool
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class FlagState:
    """A flag's rule with its history's end; version 0 says that nobody has set one."""

    rule: FlagRule = field(default_factory=FlagRule)
    reason: str = ""
    version: int = 0
    updated_at: datetime | None = None


_STATE: Final = (
    "SELECT f.name, f.killed, f.percentage::float AS percentage, f.reason, f.version, f.updated_at"
    " FROM feature_flags f"
)
_FOR_TENANT: Final = (
    "SELECT f.name, f.killed, CAST(f.percentage AS float) AS percentage, o.enabled FROM feature_flags f"
    " LEFT JOIN flag_overrides o ON o.name = f.name AND o.tenant_id = :tenant"
)


class FlagStore:
    """The rules as one tenant meets them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rules(self, tenant_id: UUID) -> Mapping[str, tuple[FlagRule, bool | None]]:
        """Return the rules that were set, by flag, each with the tenant's override; raises Unavailable."""
        with self._database.reading(tenant_id) as reader:
            rows = reader.rows(_FOR_TENANT, {"tenant": tenant_id})
        return {row["name"]: (FlagRule(row["killed"], row["percentage"]), row["enabled"]) for row in rows}


def states(connection: Connection) -> dict[str, FlagState]:
    """Return the flags that somebody has set a rule for."""
    return {row.name: _state(row) for row in connection.execute(text(_STATE))}


def lock(connection: Connection, name: str) -> FlagState:
    """Return a flag's state, its row made if need be, locked."""
    connection.execute(
        text("INSERT INTO feature_flags (name, version) VALUES (:name, 0) ON CONFLICT DO NOTHING"),
        {"name": name},
    )
    found = connection.execute(text(_STATE + " WHERE f.name = :name FOR UPDATE"), {"name": name})
    return _state(found.one())


def set_rule(connection: Connection, name: str, rule: FlagRule, reason: str) -> None:
    """Replace the rule of a locked flag."""
    connection.execute(
        text(
            "UPDATE feature_flags SET killed = :killed, percentage = :percentage, reason = :reason,"
            " version = version + 1, updated_at = clock_timestamp() WHERE name = :name"
        ),
        {"name": name, "killed": rule.killed, "percentage": rule.percentage, "reason": reason},
    )


def touch(connection: Connection, name: str) -> None:
    """Count the version of a locked flag up: an override of it has changed."""
    connection.execute(
        text(
            "UPDATE feature_flags SET version = version + 1, updated_at = clock_timestamp()"
            " WHERE name = :name"
        ),
        {"name": name},
    )


def set_override(connection: Connection, name: str, tenant_id: UUID, enabled: bool, reason: str) -> None:
    """Say that a flag is on or off for a tenant."""
    connection.execute(
        text(
            "INSERT INTO flag_overrides (tenant_id, name, enabled, reason)"
            " VALUES (:tenant, :name, :enabled, :reason) ON CONFLICT (tenant_id, name) DO UPDATE"
            " SET enabled = excluded.enabled, reason = excluded.reason, updated_at = clock_timestamp()"
        ),
        {"tenant": tenant_id, "name": name, "enabled": enabled, "reason": reason},
    )


def clear_override(connection: Connection, name: str, tenant_id: UUID) -> bool:
    """Let the rule hold for a tenant again; tell whether something else did."""
    cleared = connection.execute(
        text("DELETE FROM flag_overrides WHERE tenant_id = :tenant AND name = :name"),
        {"tenant": tenant_id, "name": name},
    )
    return bool(cleared.rowcount)


def overrides(connection: Connection, name: str) -> list[Override]:
    """Return the first hundred overrides of a flag, by tenant."""
    rows = connection.execute(
        text(
            "SELECT tenant_id, enabled, reason, updated_at FROM flag_overrides"
            " WHERE name = :name ORDER BY tenant_id LIMIT :limit"
        ),
        {"name": name, "limit": SHOWN_TENANTS},
    )
    return [Override(*row) for row in rows]


def _state(row: Any) -> FlagState:
    return FlagState(FlagRule(row.killed, row.percentage), row.reason, row.version, row.updated_at)
