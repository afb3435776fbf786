"""Identical steps of a tenant use a result again: exactly when they may, artifacts included."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from app.db import reuse
from app.domain.artifacts import INLINE_BYTES, as_reference
from app.domain.identity import Actor
from app.domain.leases import StepMessage
from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.browse import show_step
from app.services.collect_artifacts import collect_artifacts
from app.services.manage_secrets import delete_secret, put_secret
from app.services.read_output import read_output
from app.services.retry_run import retry_run
from tests.support.hands import Hands
from tests.support.rig import Rig

FAIL = {"id": "bad", "uses": "core.assert", "needs": ["a"], "with": {"condition": False}}


@pytest.fixture
def actor(rig: Rig) -> Actor:
    """Somebody of a tenant that has computed nothing yet."""
    return rig.tenant()


def compute(rig: Rig, hands: Hands, actor: Actor, given: dict[str, Any], **more: Any) -> UUID:
    """Submit one step, perform it, return its run."""
    run = rig.submit([{"id": "a", "uses": "testkit.compute", "with": given, **more}], actor=actor)
    assert hands.perform(run, "a").ok
    return run


def source(rig: Rig, actor: Actor, run: UUID) -> Any:
    return show_step(rig.base.engine.database, actor, run, "a")["reused_from"]


def offer(rig: Rig, hands: Hands, actor: Actor, run: UUID, tries: int, *, of: UUID, ttl_s: float) -> None:
    """Offer the result of a run's step in place of another's."""
    with hands.executor.engine.database.tenant(actor.tenant_id) as connection:
        query = "SELECT input_hash FROM step_results WHERE run_id = %s"
        stored = str(connection.exec_driver_sql(query, (of,)).scalar_one())
    message = StepMessage(actor.tenant_id, run, "a", 1)
    reuse.offer(hands.executor.engine.database, message, tries, stored, ttl_s)


def calls(rig: Rig, run: UUID) -> int:
    return len(rig.ledger.entries(str(run)))


def test_an_identical_step_is_not_called_again(rig: Rig, hands: Hands, actor: Actor) -> None:
    first = compute(rig, hands, actor, {"n": 7})
    second = compute(rig, hands, actor, {"n": 7})
    assert source(rig, actor, first) is None
    assert source(rig, actor, second) == {"run": str(first), "step": "a"}
    assert rig.step(second, "a")["output"] == {"square": 49, "length": 0, "filler": ""}
    assert rig.state(second) == "succeeded"
    assert (calls(rig, first), calls(rig, second)) == (1, 0)


def test_what_differs_is_computed(rig: Rig, hands: Hands, actor: Actor) -> None:
    compute(rig, hands, actor, {"n": 7})
    assert source(rig, actor, compute(rig, hands, actor, {"n": 8})) is None
    assert source(rig, actor, compute(rig, hands, actor, {"n": 7, "text": ""})) is None
    assert source(rig, actor, compute(rig, hands, actor, {"n": 7}, cache=False)) is None
    stranger = rig.tenant()
    assert source(rig, stranger, compute(rig, hands, stranger, {"n": 7})) is None


def test_a_result_has_its_time(rig: Rig, hands: Hands, actor: Actor) -> None:
    first = compute(rig, hands, actor, {"n": 9})
    offer(rig, hands, actor, first, rig.step(first, "a")["tries"], of=first, ttl_s=0.0)
    assert source(rig, actor, compute(rig, hands, actor, {"n": 9})) is None


def test_a_new_secret_is_another_input(rig: Rig, hands: Hands, actor: Actor) -> None:
    box, database = SecretBox(KeyRing(rig.settings.secrets_keys)), rig.base.engine.database
    given = {"n": 1, "text": "${secrets.T}"}
    put_secret(box, database, actor, "T", "first value", None)
    first = compute(rig, hands, actor, given)
    again = compute(rig, hands, actor, given)
    assert source(rig, actor, again) == {"run": str(first), "step": "a"}
    put_secret(box, database, actor, "T", "a longer second value", None)
    changed = compute(rig, hands, actor, given)
    assert source(rig, actor, changed) is None
    assert rig.step(changed, "a")["output"]["length"] == len("a longer second value")
    delete_secret(database, actor, "T", None)
    put_secret(box, database, actor, "T", "third", None)
    assert source(rig, actor, compute(rig, hands, actor, given)) is None
    plain = compute(rig, hands, actor, {"n": 1, "text": "$${secrets.T}"})
    assert source(rig, actor, plain) is None, "a text that looks like a secret's place is another input"


def test_an_operators_retry_does_the_work(rig: Rig, hands: Hands, actor: Actor) -> None:
    compute(rig, hands, actor, {"n": 3})
    run = rig.submit([{"id": "a", "uses": "testkit.compute", "with": {"n": 3}}, FAIL], actor=actor)
    hands.perform(run, "a")
    hands.perform(run, "bad")
    assert source(rig, actor, run) is not None
    retry_run(rig.base, actor, run, from_step="a")
    assert hands.perform(run, "a").ok
    assert source(rig, actor, run) is None
    assert calls(rig, run) == 1


def test_a_result_counts_once_its_step_has_succeeded(rig: Rig, hands: Hands, actor: Actor) -> None:
    first = compute(rig, hands, actor, {"n": 5})
    running = rig.submit([{"id": "a", "uses": "core.fail_until", "with": {"attempt": 9}}], actor=actor)
    assert hands.perform(running, "a").failed
    offer(rig, hands, actor, running, rig.step(running, "a")["tries"], of=first, ttl_s=60.0)
    assert source(rig, actor, compute(rig, hands, actor, {"n": 5})) is None


def test_a_reused_artifact_is_held_by_both(rig: Rig, hands: Hands, actor: Actor) -> None:
    given = {"n": 2, "size": 2 * INLINE_BYTES}
    first, second = compute(rig, hands, actor, given), compute(rig, hands, actor, given)
    assert source(rig, actor, second) is not None
    assert as_reference(rig.step(second, "a")["output"]) is not None
    # The first step is claimed anew: its hold ends, the second one's stays.
    rig.rows("UPDATE run_steps SET tries = tries + 1 WHERE run_id = %s", first)
    engine = rig.base.engine
    collect_artifacts(rig.beat_parts.dispatch.system, engine.artifacts.store, 0.0)
    found = read_output(engine.database, engine.artifacts, actor, second, "a")
    assert json.loads(b"".join(found.pieces()))["square"] == 4
