"""The SQL functions as single transactions."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

from tests.integration.model.lanes import Call, Rows
from tests.support.spine import ACTOR

PID, BORN = 100, 1
BY_HAND = frozenset({"cancel_run", "pause_run", "resume_run", "skip_step", "retry_run"})
STATEMENTS = {
    "cancel_run": "SELECT * FROM cancel_run(%s, %s, %s::jsonb, NULL, 'by chance')",
    "pause_run": "SELECT pause_run(%s, %s, %s::jsonb, NULL, 'by chance')",
    "resume_run": "SELECT resume_run(%s, %s, %s::jsonb, NULL)",
    "skip_step": "SELECT skip_step(%s, %s, %s, %s::jsonb, NULL, 'by chance')",
    "retry_run": "SELECT * FROM retry_run(%s, %s, %s::jsonb, NULL, %s)",
}
SEND = """
  WITH ready AS MATERIALIZED (
    SELECT key, 100 + row_number() OVER () AS carrier FROM ready_steps(%s, %s, 1000) WHERE NOT is_fan
  ) SELECT m.* FROM (SELECT array_agg(key) AS keys, array_agg(carrier::integer) AS carriers FROM ready) a
  CROSS JOIN LATERAL mark_sent(%s, %s, a.keys, a.carriers, %s) m WHERE a.keys IS NOT NULL
"""


def unheard(_rows: Rows) -> None:
    """Nobody asks."""


def claim(tenant: UUID, run: UUID, key: str, epoch: int, boot: UUID, settle: Callable[[Rows], None]) -> Call:
    values = (tenant, run, key, epoch, boot, PID, BORN, "worker")
    return Call("claim", "SELECT * FROM claim_step(%s, %s, %s, %s, %s, %s, %s, %s)", values, settle)


def finish(
    tenant: UUID, run: UUID, key: str, tries: int, outcome: str, settle: Callable[[Rows], None]
) -> Call:
    error = json.dumps({"code": outcome}) if outcome not in ("succeeded", "skipped") else None
    values = (tenant, run, key, tries, outcome, error)
    statement = "SELECT * FROM finish_step(%s, %s, %s, %s, %s, NULL, '{}', %s::jsonb, interval '0')"
    return Call(f"finish {outcome}", statement, values, settle)


def release_child(boot: UUID) -> Call:
    """What one process held is given back."""
    return Call("release", "SELECT * FROM release_child(%s, %s, %s)", (boot, PID, BORN), unheard, system=True)


def release_dead() -> Call:
    """Every worker is dead: none of them ever wrote a heartbeat."""
    return Call("dead", "SELECT * FROM release_dead(interval '0', 1)", (), unheard, system=True)


def due_waits() -> Call:
    return Call("due", "SELECT * FROM due_waits(100)", (), unheard, system=True)


def send(tenant: UUID, run: UUID, broker: str) -> Call:
    """Mark what is ready as sent, each under a carrier of its own."""
    return Call("send", SEND, (tenant, run, tenant, run, broker), unheard)


def unmark(tenant: UUID, run: UUID, key: str, epoch: int) -> Call:
    """The message counts as lost."""
    statement = "SELECT unmark_sent(%s, %s, ARRAY[%s], ARRAY[%s])"
    return Call("unmark", statement, (tenant, run, key, epoch), unheard)


def expand(tenant: UUID, run: UUID, base: str, width: int) -> Call:
    values = (tenant, run, base, json.dumps(list(range(width))))
    return Call("expand", "SELECT expand_step(%s, %s, %s, %s::jsonb)", values, unheard)


def by_hand(name: str, tenant: UUID, run: UUID, *more: str | None) -> Call:
    """An operator's action."""
    actor = json.dumps(ACTOR)
    values = (tenant, run, *more, actor) if name == "skip_step" else (tenant, run, actor, *more)
    return Call(name, STATEMENTS[name], values, unheard)
