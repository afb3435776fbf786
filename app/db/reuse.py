"""Results that identical steps use again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.db.engine import Database
from app.domain.leases import StepMessage


@dataclass(frozen=True, slots=True)
class Found:
    """The output of an identical step."""

    run_id: UUID
    step: str
    output: Any


def find(database: Database, message: StepMessage, tries: int, input_hash: str, ttl_s: float) -> Found | None:
    """Return the result of an identical step for the claim `tries`, noted in its row; raises Unavailable."""
    rows = database.call(
        "SELECT * FROM reuse_result(%s, %s, %s, %s, %s, %s)",
        (
            message.tenant_id,
            message.run_id,
            message.key,
            tries,
            input_hash,
            timedelta(seconds=ttl_s),
        ),
    )
    return Found(*rows[0]) if rows else None


def offer(database: Database, message: StepMessage, tries: int, input_hash: str, ttl_s: float) -> None:
    """Offer the result of the claim `tries`, which counts once its step has succeeded; raises Unavailable."""
    database.call(
        "SELECT offer_result(%s, %s, %s, %s, %s, %s)",
        (
            message.tenant_id,
            message.run_id,
            message.key,
            tries,
            input_hash,
            timedelta(seconds=ttl_s),
        ),
    )


def secret_versions(database: Database, tenant_id: UUID, names: Sequence[str]) -> dict[str, str]:
    """Return what tells two values of a secret apart without showing either; raises Unavailable."""
    with database.tenant(tenant_id) as connection:
        rows = connection.exec_driver_sql(
            "SELECT name, version || ' ' || extract(epoch FROM created_at) FROM secrets"
            " WHERE tenant_id = %s AND name = ANY (%s)",
            (tenant_id, list(names)),
        )
        return {row[0]: row[1] for row in rows}
