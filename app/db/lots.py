"""Lots: the ways to take, or to hand on, what was dealt out together; each call is one SQL function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.db.hot import Claim, Finish, owner_of, settlement
from app.domain.leases import Lease, Lot, StepMessage


@dataclass(frozen=True, slots=True)
class Taken:
    """A step of a lot that this lease holds now."""

    message: StepMessage
    claim: Claim


@dataclass(frozen=True, slots=True)
class PassedOn:
    """A step of a lot that has a message of its own now; whoever asked sends it."""

    message: StepMessage
    operation: str


def finish_and_take(
    database: Database,
    message: StepMessage,
    tries: int,
    outcome: str,
    lot: Lot,
    lease: Lease,
    *,
    input: Any = None,
    output: Any = None,
    error: Any = None,
    retry_in_s: float | None = None,
) -> tuple[Finish, Taken | None]:
    """Settle a step, however it ended, and take the next of the lot, in one commit; raises Unavailable.

    An output that the database cannot keep fails the step.
    """
    values, kept = settlement(message, tries, outcome, input, output, error, retry_in_s)
    row = database.call(
        "SELECT * FROM finish_and_take(%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s,"
        " %s, %s, %s, %s, %s)",
        (*values, lot.id, *owner_of(lease)),
    )[0]
    return Finish(row[0], row[1], row[2], kept), _taken(lot, row[3:])


def take_step(database: Database, lot: Lot, lease: Lease) -> Taken | None:
    """Take the next of the lot, or what the lease holds of it already; None when none is left.

    Raises Unavailable.
    """
    row = database.call(
        "SELECT * FROM take_step(%s, %s, %s, %s, %s, %s, %s)",
        (lot.tenant_id, lot.run_id, lot.id, *owner_of(lease)),
    )[0]
    return _taken(lot, row)


def pass_on(database: Database, lot: Lot) -> PassedOn | None:
    """Give the next of the lot a message of its own; None when none is left. Raises Unavailable."""
    key, epoch, operation = database.call(
        "SELECT * FROM pass_on_lot(%s, %s, %s)", (lot.tenant_id, lot.run_id, lot.id)
    )[0]
    return None if key is None else PassedOn(_message(lot, key, epoch), operation)


def queue_slots(connection: Connection) -> dict[str, int]:
    """How many live worker processes take messages of each queue."""
    return {row[0]: row[1] for row in connection.execute(text("SELECT queue, slots FROM queue_slots()"))}


def _taken(lot: Lot, row: Sequence[Any]) -> Taken | None:
    key, epoch, *claim = row
    return None if key is None else Taken(_message(lot, key, epoch), Claim(*claim))


def _message(lot: Lot, key: str, epoch: int) -> StepMessage:
    return StepMessage(lot.tenant_id, lot.run_id, key, epoch, lot.id)
