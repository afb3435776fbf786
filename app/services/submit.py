"""The acceptance of intents: checked, planned, committed, then sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from app.db import hot, plans
from app.db.engine import Connection
from app.db.intake import Request
from app.domain.errors import Fault, InvalidInput, QuantumError
from app.domain.identity import Actor
from app.domain.tracing import trace_of
from app.services.admission import Admission
from app.services.advance import advance
from app.services.group_commit import GroupCommit
from app.services.manage_pools import pool_refused, taken_pools
from app.services.ports import Engine
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.send import Parcel, send_parcels
from app.services.traces import starter
from app.services.type_book import PlannedType, TypeBook
from workflows.concurrency import concurrency_of
from workflows.limits import read_limits
from workflows.plan import Plan
from workflows.specs import canonical_json

MAX_ITEMS = 1000
MAX_SPEC_CHARACTERS = 256 * 1024
FIRST_EPOCH = 1
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
"""No labels, no limits."""


class SendLater(Protocol):
    """Runs sending jobs off the request path."""

    def epoch(self) -> str | None:
        """Return the broker's epoch, None when nothing can be sent soon. Never waits."""

    def later(self, job: Callable[[], None]) -> None:
        """Run the job soon, after the answer if need be."""


@dataclass(frozen=True, slots=True)
class SubmitDeps:
    """What the acceptance needs."""

    engine: Engine
    types: TypeBook
    outbox: SendLater
    new_id: Callable[[], UUID]
    admission: Admission
    intake: GroupCommit


# Plain tuples, these: a batch, each item of it has one, and a frozen dataclass takes thrice the time.
class Submission(NamedTuple):
    """An intent as a caller declares it; `type_version` None means the newest, `priority` 0 is usual.

    `limits` may hold the run's own `deadline` and `queue_timeout`, as durations or seconds.
    """

    type: str
    spec: Any
    type_version: int | None = None
    name: str | None = None
    labels: Mapping[str, str] = NOTHING
    priority: int = 0
    limits: Mapping[str, Any] = NOTHING


class Outcome(NamedTuple):
    """What became of one submission, the `place`-th: an error, or the ids of what was made."""

    place: int
    error: QuantumError | None = None
    intent_id: UUID | None = None
    run_id: UUID | None = None
    generation: int = 0
    type_name: str = ""
    type_version: int = 0
    name: str = ""


class _Prepared(NamedTuple):
    planned: PlannedType
    row: dict[str, Any]
    run_id: UUID


class Accepted(NamedTuple):
    """What became of the items, with what is to be sent once they are committed."""

    outcomes: Sequence[Outcome]
    prepared: Sequence[_Prepared]
    held: frozenset[str]
    """The runs that wait for admission."""
    broker_epoch: str | None
    """The broker's epoch in which the commit marked the first segments as sent, if it was there."""
    gated: bool
    """Whether some of the runs have steps that wait for a place under a limit."""


def submit_intents(
    submit: SubmitDeps,
    actor: Actor,
    items: Sequence[Submission],
    *,
    atomic: bool = False,
    receipt: Receipt = NO_RECEIPT,
) -> list[Outcome]:
    """Accept the valid items in one commit, and send what they start after it; one outcome an item, in order.

    With `atomic` a single invalid item keeps all of them out. Raises InvalidInput for more than 1,000 items,
    whatever `receipt` raises, and Unavailable when PostgreSQL is away; never because the broker is.
    """
    if not 1 <= len(items) <= MAX_ITEMS:
        raise InvalidInput.at("/items", "length", f"between 1 and {MAX_ITEMS} items are accepted at once")
    broker_epoch = submit.outbox.epoch()
    outcomes, prepared = _prepare(submit, actor, items, broker_epoch)
    if atomic and len(prepared) < len(items):
        outcomes, prepared = [each._replace(intent_id=None, run_id=None) for each in outcomes], []
    kept = receipt.before(outcomes)
    _register(submit, actor.tenant_id, prepared)
    rows = [item.row for item in prepared]
    held: frozenset[str] = frozenset()
    gated = False
    if rows or kept is not None:
        accepted = submit.intake.accept(actor.tenant_id, Request(actor.as_json(), rows, kept))
        receipt.after(accepted)
        held, gated = accepted.held, accepted.gated
    if prepared:
        send_accepted(submit, actor.tenant_id, Accepted(outcomes, prepared, held, broker_epoch, gated))
    return outcomes


def nothing_to_send() -> None:
    """The job of a commit that starts nothing now: it need not wake who sends, only who tells of commits."""


def nothing_first() -> None:
    """The caller changes no run in the transaction that declares."""


def accept(
    submit: SubmitDeps,
    connection: Connection,
    actor: Actor,
    items: Sequence[Submission],
    broker_epoch: str | None,
    first: Callable[[], None] = nothing_first,
) -> Accepted:
    """Accept the valid items within the caller's transaction; `send_accepted` is for after its commit.

    `first` may lock runs of the tenant: it is called when the locks of the limits and keys are there, which
    come before those of runs.
    """
    outcomes, prepared = _prepare(submit, actor, items, broker_epoch)
    _register(submit, actor.tenant_id, prepared)
    held: frozenset[str] = frozenset()
    gated = False
    rows = [item.row for item in prepared]
    if first is not nothing_first:
        hot.lock_entry(connection, actor.tenant_id, rows)
        first()
    if prepared:
        declared = hot.declare_intents(connection, actor.tenant_id, actor.as_json(), rows)
        held = frozenset(str(one.run_id) for one in declared if not one.admitted)
        gated = any(one.admitted is None for one in declared)
    return Accepted(outcomes, prepared, held, broker_epoch, gated)


def send_accepted(submit: SubmitDeps, tenant_id: UUID, accepted: Accepted) -> None:
    """Send what was accepted, off the caller's path."""
    if accepted.prepared:
        submit.outbox.later(_behind(submit, tenant_id, accepted))


def _prepare(
    submit: SubmitDeps, actor: Actor, items: Sequence[Submission], broker_epoch: str | None
) -> tuple[list[Outcome], list[_Prepared]]:
    """Check the items, give them their identifiers: the answer is known before anything is written."""
    outcomes: list[Outcome] = []
    prepared: list[_Prepared] = []
    types = _planned(submit, actor.tenant_id, items)
    trace_of_run = starter()
    for place, item in enumerate(items):
        planned = types[item.type, item.type_version]
        try:
            if isinstance(planned, QuantumError):
                raise planned
            row = _row(submit, planned, item, checked_spec(planned, item.spec))
        except QuantumError as error:
            outcomes.append(Outcome(place, error))
            continue
        kind, intent_id, run_id = planned.type, submit.new_id(), submit.new_id()
        row["intent_id"], row["run_id"], row["trace"] = str(intent_id), str(run_id), trace_of_run(run_id)
        row["name"], row["broker_epoch"] = item.name or row["intent_id"], broker_epoch
        prepared.append(_Prepared(planned, row, run_id))
        outcomes.append(Outcome(place, None, intent_id, run_id, 1, kind.name, kind.version, row["name"]))
    return outcomes, prepared


def _planned(
    submit: SubmitDeps, tenant_id: UUID, items: Sequence[Submission]
) -> Mapping[tuple[str, int | None], PlannedType | QuantumError]:
    """Return each type that the items name, or why it cannot be used; rows are looked at once for all."""
    named = {(item.type, item.type_version) for item in items}
    found: dict[tuple[str, int | None], PlannedType | QuantumError] = {
        pair: known for pair in named if (known := submit.types.known(tenant_id, *pair)) is not None
    }
    if len(found) < len(named):
        with submit.engine.database.tenant(tenant_id) as connection:
            for pair in named - found.keys():
                try:
                    found[pair] = submit.types.find(connection, tenant_id, *pair)
                except QuantumError as error:
                    found[pair] = error
    return _within_pools(submit, tenant_id, found)


def _within_pools(
    submit: SubmitDeps, tenant_id: UUID, found: dict[tuple[str, int | None], PlannedType | QuantumError]
) -> Mapping[tuple[str, int | None], PlannedType | QuantumError]:
    """Refuse the types whose runs would use a pool of another tenant; asks when there is something to ask."""
    pools = {pair: kind.pools for pair, kind in found.items() if isinstance(kind, PlannedType) and kind.pools}
    if not pools:
        return found
    with submit.engine.database.tenant(tenant_id) as connection:
        taken = taken_pools(connection, tenant_id, frozenset().union(*pools.values()))
    return found | {pair: pool_refused(taken & named) for pair, named in pools.items() if taken & named}


def _register(submit: SubmitDeps, tenant_id: UUID, prepared: Sequence[_Prepared]) -> None:
    """Write the plans that this tenant is not known to have; a plan that then starts no run does no harm."""
    known = submit.engine.plans
    used = {item.planned.plan.hash: item.planned.plan for item in prepared}
    family = {key: plan for root in used.values() for key, plan in root.family.items()}
    missing = [plan for plan in family.values() if not known.is_registered(tenant_id, plan.hash)]
    if not missing:
        return
    with submit.engine.database.tenant(tenant_id) as connection:
        for plan in missing:
            plans.ensure(connection, tenant_id, plan.hash, plan.document, partial(_step_rows, plan))
    for plan in missing:
        known.note_registered(tenant_id, plan.hash)


def checked_spec(planned: PlannedType, spec: Any) -> str:
    """Return the spec as canonical JSON; raises InvalidInput with the pointer of each fault."""
    try:
        document = canonical_json(spec)
    except ValueError as fault:
        raise InvalidInput.at("/spec", "number", str(fault)) from fault
    if len(document) > MAX_SPEC_CHARACTERS:
        raise InvalidInput.at("/spec", "too_large", f"a spec has at most {MAX_SPEC_CHARACTERS} characters")
    faults = planned.judge.faults(spec, "/spec")
    if faults:
        raise InvalidInput(faults, f"The spec does not fit {planned.type.name} {planned.type.version}.")
    # An escaped backslash before it makes it plain text.
    if "\\u0000" in document and "\\u0000" in document.replace("\\\\", ""):
        raise InvalidInput((Fault("/spec", "character", "the character U+0000 cannot be stored"),))
    return document


def hash_of(document: str) -> str:
    """Return the hash that a generation keeps of its spec's canonical JSON."""
    return hashlib.sha256(document.encode()).hexdigest()


def _row(submit: SubmitDeps, planned: PlannedType, item: Submission, spec: str) -> dict[str, Any]:
    """Return the item's row without what is new about it; what is usual is left out, as SQL knows it."""
    row = {**planned.common, "spec": item.spec, "spec_hash": hash_of(spec)}
    if planned.plan.concurrency is not None:
        row |= keyed(planned.plan, item.spec)
    if item.limits:
        row |= read_limits(item.limits)
    if item.labels:
        row["labels"] = dict(item.labels)
    if item.priority:
        row["priority"] = item.priority
    if not submit.admission.take(planned.pool):
        row["hold"] = True
    return row


def keyed(plan: Plan, spec: Any) -> dict[str, Any]:
    """Return the member `concurrency` of an item, if the plan has a key; raises InvalidInput."""
    declared = plan.concurrency
    return {} if declared is None else {"concurrency": concurrency_of(declared, spec)}


def _step_rows(plan: Plan) -> Sequence[Mapping[str, Any]]:
    return plan.step_rows


def _behind(submit: SubmitDeps, tenant_id: UUID, accepted: Accepted) -> Callable[[], None]:
    """Return what is to be done behind the commit: nothing in a flood, all of which waits for admission."""
    sent = accepted.broker_epoch is not None and len(accepted.held) < len(accepted.prepared)
    if not sent and not accepted.gated and not submit.admission.due():
        return nothing_to_send
    return partial(_start, submit, tenant_id, accepted)


def _start(submit: SubmitDeps, tenant_id: UUID, accepted: Accepted) -> None:
    """Send the first segments of what was admitted: the commit marked them if the broker was there.

    When the runs are `gated` the first one leads to all that have places for their steps.
    """
    parcels, undecided = [], []
    for item in accepted.prepared:
        if accepted.broker_epoch is None or item.row["run_id"] in accepted.held:
            continue
        plan, run_id = item.planned.plan, item.run_id
        if plan.first_segments:
            epochs = {key: FIRST_EPOCH for segment in plan.first_segments for key in segment.keys}
            trace = trace_of(item.row["trace"], run_id)
            parcels.append(Parcel(plan, tenant_id, run_id, plan.first_segments, epochs, trace=trace))
        if item.planned.starts_with_fan:
            undecided.append(run_id)
    send_parcels(submit.engine, parcels)
    if accepted.gated:
        undecided.append(accepted.prepared[0].run_id)
    for run_id in undecided:
        advance(submit.engine, tenant_id, run_id)
    submit.admission.look()
