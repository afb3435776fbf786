"""Events reach a receiver signed, in order, once each when nothing goes wrong; again when something does."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import Unavailable
from app.services import deliver_webhooks as service
from app.services.manage_webhooks import change_webhook, delete_webhook, show_webhook
from tests.integration.webhooks.conftest import Serve
from tests.support.waiting import eventually
from tests.support.webhooks import OK, QUICK, HookRig, Receiver, first_arrivals


def test_events_arrive_signed_in_order_once(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    target = serve(receiver)
    rig.emit("runs/old", 1, 3)
    rig.system.call("SELECT sequence_events(100)")
    hook = rig.hook(target)
    for number in range(5):
        rig.emit(f"runs/{number}", 1, 10, data={"text": "grüße"})
    with rig.delivering():
        rig.wait(hook, delivered=50 + 1)  # webhook.created is an event too
    events = [hook.verified(seen) for seen in target.seen]
    arrived = first_arrivals(events)
    assert {subject for subject in arrived if subject.startswith("runs/")} == {f"runs/{n}" for n in range(5)}
    assert all(arrived[f"runs/{number}"] == list(range(1, 11)) for number in range(5))
    assert max(receiver.times.values()) == 1
    assert target.seen[0].headers["content-type"].startswith("application/cloudevents+json")
    assert show_webhook(rig.app, rig.actor(), hook.id)["delivered_at"] is not None


def test_filters_let_through_types_and_labels_of_the_intent(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    target = serve(receiver)
    failed = rig.hook(target, ["run.failed"])
    runs = rig.hook(target, ["run.*", "intent.created"])
    blue = rig.hook(target, ["*"], {"team": "blue", "env": "prod"})
    other = rig.hook(target, ["*"], tenant=rig.new_tenant())
    for number, labels in enumerate(({"team": "blue", "env": "prod", "x": "y"}, {"team": "blue"})):
        identifier = f"01890000-0000-7000-8000-00000000000{number}"
        rig.admin.call(
            "SET session_replication_role = replica;"
            " INSERT INTO intents (tenant_id, id, type_name, type_version, mode, phase)"
            " VALUES (%(t)s, %(i)s, 'x', 1, 'job', 'pending');"
            " INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name,"
            " workflow_version, state, open_steps)"
            " VALUES (%(t)s, %(i)s, %(i)s, 1, 'x', 'h', 'w', 1, 'failed', 0);"
            " SET session_replication_role = origin",
            {"t": rig.tenant, "i": identifier},
        )
        for key, value in labels.items():
            rig.admin.call(
                "INSERT INTO intent_labels VALUES (%s, %s, %s, %s)", (rig.tenant, identifier, key, value)
            )
        rig.emit(f"intents/{identifier}", 1, 1, "intent.created")
        rig.emit(f"runs/{identifier}", 1, 1, "run.started")
        rig.emit(f"runs/{identifier}", 2, 2, "run.failed")
        rig.emit(f"runs/{identifier}", 3, 3, "step.failed")
    with rig.delivering():
        rig.wait(failed, delivered=2)
        rig.wait(runs, delivered=6)
        rig.wait(blue, delivered=4)
    assert rig.states(other) == Counter({"delivered": 1})  # its own webhook.created


def test_later_events_of_a_subject_wait_while_an_earlier_one_is_tried_again(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    receiver.answer = lambda event, times: (
        (500, {}, b"not yet")
        if event["subject"] == "runs/a" and event["sequence"][-1] == "2" and times < 4
        else OK
    )
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 5)
    rig.emit("runs/b", 1, 5)
    with rig.delivering(rig.deliverer(replace(QUICK, breaker_failures=99))):
        rig.wait(hook, delivered=10)
    events = [hook.verified(seen) for seen in target.seen]
    assert first_arrivals(events) == {"runs/a": [1, 2, 3, 4, 5], "runs/b": [1, 2, 3, 4, 5]}
    of_a = [int(event["sequence"]) for event in events if event["subject"] == "runs/a"]
    assert of_a == [1, 2, 2, 2, 2, 3, 4, 5]
    assert len({seen.headers["webhook-id"] for seen in target.seen}) == 10
    rows = rig.admin.call(
        "SELECT n, status, response FROM webhook_attempts"
        " JOIN webhook_deliveries d USING (webhook_id, event_id)"
        " WHERE d.webhook_id = %s AND d.subject = 'runs/a' AND d.seq = 2 ORDER BY n",
        (hook.id,),
    )
    assert rows == [(1, 500, "not yet"), (2, 500, "not yet"), (3, 500, "not yet"), (4, 200, "")]


def test_events_pass_one_that_is_dead(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    receiver.answer = lambda event, times: (400, {}, b"no") if event["sequence"][-1] == "1" else OK
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 3)
    with rig.delivering(rig.deliverer(replace(QUICK, attempts=3))):
        rig.wait(hook, delivered=2, dead=1)
    assert sorted(receiver.times.values()) == [1, 1, 3]


def test_two_deliverers_share_the_work_and_keep_the_order(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    target = serve(receiver)
    hooks = [rig.hook(target, ["run.*"]) for _ in range(4)]
    for number in range(10):
        rig.emit(f"runs/{number}", 1, 20)
    with rig.delivering(rig.deliverer(), rig.deliverer()):
        for hook in hooks:
            rig.wait(hook, delivered=200)
    assert len(target.seen) == 800, "nothing twice"


def test_a_slow_endpoint_holds_nobody_else(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    hold = threading.Event()
    slow = serve(lambda _: (hold.wait(20), OK)[1])
    quick = serve(receiver)
    neighbour = rig.new_tenant()
    held = [rig.hook(slow, ["run.*"]) for _ in range(6)]
    free = [rig.hook(quick, ["run.*"]), rig.hook(quick, ["run.*"], tenant=neighbour)]
    for number in range(6):
        rig.emit(f"runs/{number}", 1, 5)
        rig.emit(f"runs/{number}", 1, 5, tenant=neighbour)
    rules = replace(QUICK, threads=8, of_tenant=6, of_endpoint=2, timeout_s=30.0)
    with rig.delivering(rig.deliverer(rules)):
        rig.wait(free[1], delivered=30)
        assert sum(rig.states(hook)["delivered"] for hook in held) == 0
        assert 1 <= len(slow.seen) <= 6
        hold.set()
        rig.wait(free[0], delivered=30)
        for hook in held:
            rig.wait(hook, delivered=30)


def test_what_is_deleted_disabled_or_of_a_suspended_tenant_is_not_told(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    target = serve(receiver)
    gone, shut, kept = (rig.hook(target, ["run.*"]) for _ in range(3))
    suspended = rig.new_tenant()
    quiet = rig.hook(target, ["run.*"], tenant=suspended)
    rig.emit("runs/a", 1, 1)
    rig.emit("runs/a", 1, 1, tenant=suspended)
    delete_webhook(rig.deps, rig.actor(), gone.id, None)
    change_webhook(rig.deps, rig.actor(), shut.id, None, {"state": "disabled"})
    rig.system.call("UPDATE tenants SET state = 'suspended' WHERE id = %s", (suspended,))
    with rig.delivering():
        rig.wait(kept, delivered=1)
        rig.wait(quiet, pending=1)
        assert len(target.seen) == 1
        rig.system.call("UPDATE tenants SET state = 'active' WHERE id = %s", (suspended,))
        change_webhook(rig.deps, rig.actor(), shut.id, None, {"state": "active"})
        rig.emit("runs/a", 2, 2)
        rig.wait(quiet, delivered=1)
        rig.wait(shut, delivered=1)
    assert rig.states(gone) == Counter()


def test_a_lease_that_never_came_to_hand_runs_out(
    rig: HookRig, serve: Serve, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, refused, read = threading.Event(), [], service.signing_secrets
    slow = serve(lambda _: (hold.wait(20), OK)[1])
    busy, lost = rig.hook(slow, ["run.*"]), rig.hook(serve(receiver), ["intent.*"])

    def away_once(box: Any, database: Any, tenant_id: UUID, webhook_id: UUID) -> Any:
        if webhook_id == lost.id and not refused:
            refused.append(webhook_id)
            raise Unavailable("database")
        return read(box, database, tenant_id, webhook_id)

    monkeypatch.setattr(service, "signing_secrets", away_once)
    rig.emit("runs/a", 1, 1)
    with rig.delivering(rig.deliverer(replace(QUICK, lease_s=0.6, timeout_s=30.0))):
        eventually(lambda: len(slow.seen) == 1, within=10)
        rig.emit("intents/a", 1, 1, kind="intent.created")
        rig.wait(lost, 8, delivered=1)
        assert (rig.states(busy), refused) == (Counter(pending=1), [lost.id])
        hold.set()
        rig.wait(busy, delivered=1)


def test_outcomes_that_cannot_be_written_keep_no_other_webhook_waiting(
    rig: HookRig, serve: Serve, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = serve(receiver)
    odd, good = rig.hook(target, ["run.*"]), rig.hook(target, ["run.*"])
    deliverer = rig.deliverer(replace(QUICK, breaker_first_s=600.0))
    finish = deliverer.work.finish

    def refusing(key: Any, owner: str, results: Any, *more: Any) -> Any:
        if key[1] == odd.id and results:
            raise LookupError("a fault of ours")
        return finish(key, owner, results, *more)

    monkeypatch.setattr(deliverer.work, "finish", refusing)
    with rig.delivering(deliverer):
        for number in (1, 2):
            rig.emit("runs/a", number, number)
            rig.wait(good, 8, delivered=number)
    assert rig.states(odd) == Counter(pending=2)
    assert len(target.seen) == 3, "what could not be written is left alone for a while"
