"""The hot path: declare, claim, finish, mark as sent; each call is one SQL function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.documents import DEEPEST, dump, printable, too_deep
from app.domain.leases import Lease, StepMessage


@dataclass(frozen=True, slots=True)
class Claim:
    """`claimed` with all an attempt needs; `done` when the step ended well in this epoch; `held` when it is
    its time, but maintenance, a suspended tenant or an order to this worker forbid it; else `lost`."""

    verdict: str
    tries: int
    attempt: int
    round: int
    operation: str
    definition: Any
    context: Any


@dataclass(frozen=True, slots=True)
class Finish:
    """`finished` or `lost`; `needs_advance` when a step became ready that no message carries.

    Not `kept`: the output was no document that the database can keep, which failed the step.
    """

    verdict: str
    run_state: str | None
    needs_advance: bool
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """A step that a pool process holds."""

    tries: int
    attempt: int
    definition: Any


@dataclass(frozen=True, slots=True)
class Sent:
    """The dispatch epoch of each step that may go, and the lot from which its message may take others."""

    epochs: Mapping[str, int]
    lots: Mapping[str, UUID]


@dataclass(frozen=True, slots=True)
class Place:
    """The lot of a step that is sent, and whether it goes without a message of its own."""

    lot: UUID
    loose: bool


NOT_DEALT: Mapping[str, Place] = {}


@dataclass(frozen=True, slots=True)
class ReadyRow:
    """A ready step that no message carries; definition with context only for fans, for waits."""

    key: str
    base: str
    item: int | None
    queue: str
    is_fan: bool
    definition: Any
    context: Any


@dataclass(frozen=True, slots=True)
class Ready:
    """What can be sent of one run; `item_counts` tells how many items each fan of these items has,
    no more than one above those that are ready.

    When the tenant's steps are `limited`, these have places; `next_run` may have steps that wait for one.
    """

    plan_hash: str
    steps: tuple[ReadyRow, ...]
    item_counts: Mapping[str, int]
    limited: bool = False
    next_run: UUID | None = None
    trace: str | None = None
    """The span of the run, where that is sampled."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What became of item `n`; a run that is not `admitted` waits, nothing of it is marked as sent.

    None: it is admitted, each step of it is sent when it has a place under the tenant's limit of steps.
    """

    n: int
    intent_id: UUID
    generation: int
    run_id: UUID
    admitted: bool | None


def claim_step(database: Database, message: StepMessage, lease: Lease) -> Claim:
    """Claim the step for the lease; raises Unavailable."""
    row = database.call(
        "SELECT * FROM claim_step(%s, %s, %s, %s, %s, %s, %s, %s)",
        (message.tenant_id, message.run_id, message.key, message.epoch, *owner_of(lease)),
    )[0]
    return _claim(row)


def finish_step(
    database: Database,
    message: StepMessage,
    tries: int,
    outcome: str,
    *,
    input: Any = None,
    output: Any = None,
    error: Any = None,
    retry_in_s: float | None = None,
) -> Finish:
    """Settle the claim `tries` of a step; `retry_in_s` counts seconds. Raises Unavailable.

    An output that the database cannot keep fails the step: a step that cannot be settled would hang.
    """
    values, kept = settlement(message, tries, outcome, input, output, error, retry_in_s)
    row = database.call(
        "SELECT * FROM finish_step(%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s)", values
    )[0]
    return Finish(row[0], row[1], row[2], kept)


def settlement(
    message: StepMessage,
    tries: int,
    outcome: str,
    input: Any,
    output: Any,
    error: Any,
    retry_in_s: float | None,
) -> tuple[tuple[Any, ...], bool]:
    """Return the values that settle a step in SQL, and whether its output could be kept: else it fails."""
    stored, fault = stored_output(output)
    if fault is not None:
        outcome, error = "failed", fault
    values = (
        message.tenant_id,
        message.run_id,
        message.key,
        tries,
        outcome,
        None if input is None else dump(printable(input)),
        stored,
        None if error is None else dump(printable(error)),
        None if retry_in_s is None else timedelta(seconds=retry_in_s),
    )
    return values, fault is None


def finish_and_claim(
    database: Database,
    message: StepMessage,
    tries: int,
    outcome: str,
    following: StepMessage,
    lease: Lease,
    *,
    input: Any = None,
    output: Any = None,
) -> tuple[Finish, Claim | None]:
    """Settle a step that ended well and claim the following one of its run, in one commit.

    The claim is None when the first was not settled, or its output could not be kept. Raises Unavailable.
    """
    values, kept = settlement(message, tries, outcome, input, output, error=None, retry_in_s=None)
    if not kept:
        return finish_step(database, message, tries, outcome, input=input, output=output), None
    *ended_well, _error, _retry_in = values
    row = database.call(
        "SELECT * FROM finish_and_claim(%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s, %s, %s, %s, %s)",
        (*ended_well, following.key, following.epoch, *owner_of(lease)),
    )[0]
    return Finish(*row[:3]), _claim(row[3:]) if row[0] == "finished" else None


def stored_output(output: Any) -> tuple[str | None, dict[str, str] | None]:
    """Return the output as the database keeps it, or the error of a step whose output is no document."""
    try:
        if not too_deep(output):
            return None if output is None else dump(output), None
        wrong = f"it nests deeper than {DEEPEST} levels"
    except (ValueError, TypeError, RecursionError) as fault:
        wrong = str(fault)
    return None, {"code": "output_invalid", "message": f"the output is not a JSON document: {wrong}"}


def owner_of(lease: Lease) -> tuple[UUID, int, int, str]:
    """Return the lease as SQL functions take it."""
    return lease.boot, lease.child.pid, lease.child.born, lease.worker


def _claim(row: Sequence[Any]) -> Claim:
    return Claim(*row) if row[0] == "claimed" else Claim(row[0], 0, 0, 0, "", None, None)


def run_state(database: Database, tenant_id: UUID, run_id: UUID) -> str | None:
    """The state of a run, None when this tenant has no such run; raises Unavailable."""
    rows = database.call("SELECT run_state(%s, %s)", (tenant_id, run_id))
    return rows[0][0]  # type: ignore[no-any-return]  # a column of text


def held_step(database: Database, message: StepMessage, lease: Lease) -> Held | None:
    """The step if the lease holds it now; raises Unavailable."""
    rows = database.call(
        "SELECT * FROM held_step(%s, %s, %s, %s, %s, %s)",
        (message.tenant_id, message.run_id, message.key, *owner_of(lease)[:3]),
    )
    return Held(*rows[0]) if rows else None


def unmark_sent(database: Database, tenant_id: UUID, run_id: UUID, epochs: Mapping[str, int]) -> int:
    """Take back the marks of unsent steps; return how many were still ours. Raises Unavailable."""
    rows = database.call(
        "SELECT unmark_sent(%s, %s, %s::text[], %s::integer[])",
        (tenant_id, run_id, list(epochs), list(epochs.values())),
    )
    return int(rows[0][0])


def declare_intents(
    connection: Connection, tenant_id: UUID, actor: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
) -> list[Declared]:
    """Write intents with spec, labels, run, steps, event, audit record; one outcome an item, in order."""
    held = connection.execute(
        text("SELECT declare_intents(:tenant, CAST(:actors AS jsonb), CAST(:items AS jsonb))"),
        {"tenant": tenant_id, "actors": dump([dict(actor)]), "items": dump([dict(item) for item in items])},
    ).scalar_one()
    goes = None if None in held else True
    return [
        Declared(n, UUID(item["intent_id"]), 1, run_id, False if run_id in held else goes)
        for n, item in enumerate(items)
        for run_id in (UUID(item["run_id"]),)
    ]


def lock_entry(connection: Connection, tenant_id: UUID, items: Sequence[Mapping[str, Any]]) -> None:
    """Take the locks that declaring these items takes, of keys and limits, until the transaction ends."""
    values = {"tenant": tenant_id, "items": dump([dict(item) for item in items])}
    connection.execute(text("SELECT blocked_by_key(:tenant, CAST(:items AS jsonb))"), values)
    connection.execute(text("SELECT free_places(:tenant)"), values)


def ready_steps(connection: Connection, tenant_id: UUID, run_id: UUID, limit: int) -> Ready | None:
    """The first `limit` ready steps that no message carries; None when the run has none or is not under way.

    Locks the run until the transaction ends.
    """
    rows = connection.execute(
        text(
            "SELECT key, base, item, queue, is_fan, definition, context, plan_hash, trace"
            " FROM ready_steps(:tenant, :run, :limit)"
        ),
        {"tenant": tenant_id, "run": run_id, "limit": limit},
    ).all()
    if not rows:
        return None
    limited = rows[-1].key is None
    next_run = UUID(rows[-1].base) if limited and rows[-1].base else None
    steps = tuple(ReadyRow(*row[:7]) for row in rows if row.key is not None)
    fans = Counter(step.base for step in steps if step.item is not None)
    counts = _item_counts(connection, tenant_id, run_id, fans)
    return Ready(rows[0].plan_hash or "", steps, counts, limited, next_run, rows[0].trace)


def _item_counts(
    connection: Connection, tenant_id: UUID, run_id: UUID, fans: Mapping[str, int]
) -> dict[str, int]:
    # One more than are ready tells that others are elsewhere: a wide fan is not counted for each item.
    if not fans:
        return {}
    rows = connection.execute(
        text(
            "SELECT f.base, (SELECT count(*) FROM (SELECT FROM run_steps s WHERE s.tenant_id = :tenant"
            " AND s.run_id = :run AND s.base = f.base AND s.item IS NOT NULL AND s.state <> 'cancelled'"
            " LIMIT f.ready + 1) few)"
            " FROM unnest(CAST(:fans AS text[]), CAST(:ready AS integer[])) AS f (base, ready)"
        ),
        {"tenant": tenant_id, "run": run_id, "fans": list(fans), "ready": list(fans.values())},
    )
    return {row[0]: row[1] for row in rows}


def expand_step(
    connection: Connection, tenant_id: UUID, run_id: UUID, base: str, items: Sequence[Any]
) -> bool:
    """Write the items of a ready fan, once; tell whether that left a ready step without a message."""
    return bool(
        connection.execute(
            text("SELECT expand_step(:tenant, :run, :base, CAST(:items AS jsonb))"),
            {"tenant": tenant_id, "run": run_id, "base": base, "items": dump(list(items))},
        ).scalar()
    )


def fail_decision(
    connection: Connection, tenant_id: UUID, run_id: UUID, key: str, error: Mapping[str, Any]
) -> bool:
    """Fail a ready step whose expression failed; tell whether that left a ready step without a message."""
    return bool(
        connection.execute(
            text("SELECT fail_decision(:tenant, :run, :key, CAST(:error AS jsonb))"),
            {"tenant": tenant_id, "run": run_id, "key": key, "error": dump(printable(dict(error)))},
        ).scalar()
    )


def mark_sent(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    keys: Sequence[str],
    carriers: Sequence[int],
    broker_epoch: str,
    dealt: Mapping[str, Place] = NOT_DEALT,
) -> Sent:
    """Mark steps as sent, before they are; only the keys returned may go, each under its dispatch epoch.

    `dealt` tells which of them share a lot, and which of those go without a message.
    """
    places = [dealt.get(key) for key in keys]
    rows = connection.execute(
        text(
            "SELECT key, dispatch_epoch, lot FROM mark_sent(:tenant, :run, CAST(:keys AS text[]),"
            " CAST(:carriers AS integer[]), :epoch, CAST(:lots AS uuid[]), CAST(:loose AS boolean[]))"
        ),
        {
            "tenant": tenant_id,
            "run": run_id,
            "keys": list(keys),
            "carriers": list(carriers),
            "epoch": broker_epoch,
            "lots": [place and place.lot for place in places],
            "loose": [place is not None and place.loose for place in places],
        },
    ).all()
    return Sent({key: epoch for key, epoch, _ in rows}, {key: lot for key, _, lot in rows if lot is not None})
