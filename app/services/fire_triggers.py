"""The firing of triggers: events heard, intents declared, both noted in one commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

from app.db import trigger_work as work
from app.db import triggers as store
from app.db.engine import Connection, Database
from app.db.trigger_work import Candidate
from app.db.triggers import TriggerRow
from app.domain.errors import InvalidInput, QuantumError, Unavailable
from app.domain.identity import Actor
from app.domain.triggers import LOOP, MAX_CHAIN, MAX_DEPTH, Firing, Heard
from app.observability.context import log_context
from app.observability.logging import get_log
from app.observability.metrics import TRIGGERS_FIRED
from app.services.flags import Switches
from app.services.submit import Accepted, Submission, SubmitDeps, accept, send_accepted
from workflows.cel import ExpressionError
from workflows.event_rules import fits, rendered

log = get_log(__name__)

EVENTS_AT_ONCE: Final = 200
"""Of each shard in one look."""
STARTS_AT_ONCE: Final = 50
"""Decided by one transaction; whoever changes one of the triggers waits so long."""
ROUNDS: Final = 20
LONGEST_REASON: Final = 500

Decision = tuple[TriggerRow, Heard]


def fire_triggers(deps: SubmitDeps, system: Database, flags: Switches) -> int:
    """Let triggers hear what happened since the last look; return how many events were read.

    What a trigger decides about an event stands in its history in the very commit that declares the intent,
    under a key of both: dying at any moment loses none, doubles none. Two at once are harmless. Raises
    Unavailable.
    """
    work.prepare(system)
    total = 0
    for _ in range(ROUNDS):
        stretches = work.reach(system, EVENTS_AT_ONCE)
        for stretch in stretches:
            found = work.candidates(system, stretch)
            for tenant_id, group in groupby(found, key=lambda one: one.tenant_id):
                if flags.on("event_triggers", tenant_id):
                    with log_context(tenant_id=tenant_id):
                        _fire_tenant(deps, tenant_id, list(group))
            work.advance(system, stretch)
            total += stretch.upto - stretch.origin
        if not stretches:
            break
    return total


def decide(
    deps: SubmitDeps,
    connection: Connection,
    tenant_id: UUID,
    decisions: Sequence[Decision],
    epoch: str | None,
) -> tuple[list[Firing], Accepted]:
    """Declare what locked triggers make of what they heard, in the caller's transaction, without noting it.

    What a filter does not let through leaves no firing; what is refused is a failed one with the reason.
    """
    firings: list[Firing] = []
    ready: list[tuple[Decision, Submission]] = []
    chains = Counter({heard.root: heard.declared for _, heard in decisions})
    for row, heard in decisions:
        try:
            if not fits(row["filter"], heard.facts()):
                continue
            if heard.depth >= MAX_DEPTH or chains[heard.root] >= MAX_CHAIN:
                log.warning("trigger_loop", trigger_id=str(row["id"]), event_id=heard.id, depth=heard.depth)
                firings.append(Firing(row["id"], heard, "skipped", LOOP))
                continue
            ready.append(((row, heard), submission(row, heard)))
            chains[heard.root] += 1
        except (ExpressionError, QuantumError) as error:
            firings.append(Firing(row["id"], heard, "failed", str(error)[:LONGEST_REASON]))
    accepted = accept(deps, connection, triggerer(tenant_id), [one for _, one in ready], epoch)
    for ((row, heard), _), outcome in zip(ready, accepted.outcomes, strict=True):
        if outcome.error is not None:
            firings.append(Firing(row["id"], heard, "failed", str(outcome.error)[:LONGEST_REASON]))
        else:
            firings.append(
                Firing(row["id"], heard, "fired", intent_id=outcome.intent_id, run_id=outcome.run_id)
            )
    return firings, accepted


def submission(row: TriggerRow, heard: Heard) -> Submission:
    """Return what the trigger declares; raises ExpressionError, InvalidInput."""
    spec = rendered(row["spec"], heard.facts())
    if not isinstance(spec, dict):
        raise InvalidInput.at("/spec", "type", "the spec must be an object")
    labels = {**row["labels"], "trigger": row["name"]}
    return Submission(row["type"], spec, row["type_version"], row["name"], labels, row["priority"])


def triggerer(tenant_id: UUID) -> Actor:
    """Return who acts when a trigger fires."""
    return Actor(tenant_id, "", None, "trigger", frozenset(), "trigger")


def _fire_tenant(deps: SubmitDeps, tenant_id: UUID, found: Sequence[Candidate]) -> None:
    for at in range(0, len(found), STARTS_AT_ONCE):
        some = found[at : at + STARTS_AT_ONCE]
        try:
            _fire_some(deps, tenant_id, some)
        except Unavailable:
            raise
        except Exception:
            # One of them must not keep the others, or other tenants, from firing.
            log.exception("triggers_failed")
            for one in some:
                _fire_alone(deps, tenant_id, one)


def _fire_alone(deps: SubmitDeps, tenant_id: UUID, found: Candidate) -> None:
    try:
        _fire_some(deps, tenant_id, [found])
    except Unavailable:
        raise
    except Exception as error:
        # The log has all of it; a database error would show the tenant our statements.
        log.exception("trigger_failed", trigger_id=str(found.trigger_id), subject=found.subject)
        reason = f"internal fault: {type(error).__name__}"
        with deps.engine.database.tenant(tenant_id) as connection:
            for row, heard in _undecided(connection, tenant_id, [found]):
                store.note(connection, tenant_id, [Firing(row["id"], heard, "failed", reason)])


def _fire_some(deps: SubmitDeps, tenant_id: UUID, found: Sequence[Candidate]) -> None:
    epoch = deps.outbox.epoch()
    with deps.engine.database.tenant(tenant_id) as connection:
        undecided = _undecided(connection, tenant_id, found)
        firings, accepted = decide(deps, connection, tenant_id, undecided, epoch)
        if firings:
            store.note(connection, tenant_id, firings)
    send_accepted(deps, tenant_id, accepted)
    for firing in firings:
        TRIGGERS_FIRED.labels("events", firing.outcome).inc()


def _undecided(connection: Connection, tenant_id: UUID, found: Sequence[Candidate]) -> list[Decision]:
    """Lock the triggers, then see what is still to be decided: nobody else decides it before the commit."""
    rows = store.lock(connection, tenant_id, [one.trigger_id for one in found])
    events = work.heard(connection, tenant_id, found)
    pairs = [
        (rows[one.trigger_id], events[one.subject, one.seq])
        for one in found
        if one.trigger_id in rows and (one.subject, one.seq) in events
    ]
    done = work.decided(connection, tenant_id, [(row["id"], heard.id) for row, heard in pairs])
    return [(row, heard) for row, heard in pairs if (row["id"], heard.id) not in done]
