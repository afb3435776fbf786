"""What is held from beginning: claims, stretches, admission, submission refuse it from the commit on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.db import hot, lots, orders, queues, recovery, workers
from app.db.ids import new_id
from app.domain.hands import Order
from app.domain.leases import Child, Lease, Lot, StepMessage
from tests.support.servers import DatabaseUrls
from tests.support.spine import BROKER, LEASE, Spine

CHAIN = {"a": [], "b": ["a"]}


@pytest.fixture(scope="module")
def shared(database_urls: DatabaseUrls) -> Spine:
    return Spine(database_urls)


@pytest.fixture
def spine(shared: Spine) -> Iterator[Spine]:
    """A tenant of its own on the module's database, where nothing is held at the end."""
    shared.tenant = shared.new_tenant()
    workers.beat(shared.system, LEASE.boot, LEASE.worker, 1, "1.0", ("default",), [LEASE.child])
    yield shared
    shared.system.call("UPDATE maintenance SET active = false")
    shared.system.call("UPDATE tenants SET state = 'active'")
    shared.system.call("DELETE FROM worker_orders")
    shared.system.call("UPDATE runs SET state = 'paused' WHERE state = 'queued'")


def order(spine: Spine, state: str, name: str = LEASE.worker) -> None:
    with spine.system.system() as connection:
        orders.give(connection, Order(name, state))


def hold(spine: Spine, what: str, on: bool = True) -> None:
    """Bring a hold about, or end it, as its service does."""
    if what == "worker":
        order(spine, "draining" if on else "active")
    elif what == "tenant":
        spine.system.call(
            "UPDATE tenants SET state = %s WHERE id = %s", ("suspended" if on else "active", spine.tenant)
        )
    else:
        with spine.system.system() as connection:
            orders.switch(connection, on, "why", "root@example.org")


def sent(spine: Spine) -> tuple[UUID, StepMessage]:
    run = spine.declare(spine.plan(CHAIN, carriers={"a": 0, "b": 0}), broker=BROKER)
    return run, StepMessage(spine.tenant, run, "a", 1)


def row(spine: Spine, run: UUID, key: str = "a") -> dict[str, Any]:
    rows = spine.system.call(
        "SELECT state, sent_at IS NOT NULL, kills, attempt, tries FROM run_steps"
        " WHERE run_id = %s AND key = %s",
        (run, key),
    )
    return dict(zip(("state", "sent", "kills", "attempt", "tries"), rows[0], strict=True))


@pytest.mark.parametrize("what", ["worker", "tenant", "platform"])
def test_a_held_step_is_not_claimed_and_goes_on_afterwards(spine: Spine, what: str) -> None:
    run, message = sent(spine)
    hold(spine, what)
    assert hot.claim_step(spine.app, message, LEASE).verdict == "held"
    assert spine.system.call("SELECT state FROM runs WHERE id = %s", (run,))[0][0] == "queued"
    assert hot.unmark_sent(spine.app, spine.tenant, run, {"a": 1}) == 1
    assert row(spine, run) == {"state": "ready", "sent": False, "kills": 0, "attempt": 0, "tries": 0}
    assert hot.claim_step(spine.app, message, LEASE).verdict == "lost"
    hold(spine, what, False)
    with spine.app.tenant(spine.tenant) as connection:
        ready = hot.ready_steps(connection, spine.tenant, run, 10)
        assert ready is not None
        epochs = hot.mark_sent(connection, spine.tenant, run, ["a"], [0], BROKER).epochs
    assert hot.claim_step(spine.app, replace(message, epoch=epochs["a"]), LEASE).verdict == "claimed"


def test_an_order_to_one_worker_leaves_the_others_alone(spine: Spine) -> None:
    _, message = sent(spine)
    order(spine, "quarantined")
    assert hot.claim_step(spine.app, message, replace(LEASE, worker="worker-2")).verdict == "claimed"


def test_what_a_draining_worker_executes_it_ends_and_its_stretch_stops(spine: Spine) -> None:
    run, message = sent(spine)
    claim = hot.claim_step(spine.app, message, LEASE)
    order(spine, "draining")
    following = StepMessage(spine.tenant, run, "b", 1)
    finish, onward = hot.finish_and_claim(
        spine.app, message, claim.tries, "succeeded", following, LEASE, output={}
    )
    assert (finish.verdict, onward.verdict if onward else None) == ("finished", "held")
    assert (row(spine, run)["state"], row(spine, run, "b")["state"]) == ("succeeded", "ready")


def test_no_loose_step_of_a_lot_is_taken_by_a_draining_worker(spine: Spine) -> None:
    run = spine.declare(spine.plan({"a": [], "b": []}))
    lot = Lot(spine.tenant, run, new_id())
    dealt = {"a": hot.Place(lot.id, False), "b": hot.Place(lot.id, True)}
    with spine.app.tenant(spine.tenant) as connection:
        hot.mark_sent(connection, spine.tenant, run, ["a", "b"], [0, 1], BROKER, dealt)
    order(spine, "draining")
    assert lots.take_step(spine.app, lot, LEASE) is None
    taken = lots.take_step(spine.app, lot, replace(LEASE, worker="worker-2"))
    assert (taken.message.key if taken else None) == "b"


def test_what_a_quarantined_worker_runs_is_taken_back_and_counts_as_nothing(spine: Spine) -> None:
    run, message = sent(spine)
    bad = Lease(UUID(int=5), Child(5, 5), "bad")
    workers.beat(spine.system, bad.boot, bad.worker, 5, "1.0", ("default",), [bad.child])
    for _ in range(4):  # more often than kills make a step poison
        claim = hot.claim_step(spine.app, message, bad)
        order(spine, "quarantined", bad.worker)
        with spine.system.system() as connection:
            assert orders.take_back(connection, bad.worker) == 1
        assert hot.finish_step(spine.app, message, claim.tries, "succeeded", output={}).verdict == "lost"
        found = row(spine, run)
        assert (found["state"], found["sent"], found["kills"], found["attempt"]) == ("ready", False, 0, 0)
        order(spine, "active", bad.worker)
        with spine.app.tenant(spine.tenant) as connection:
            epoch = hot.mark_sent(connection, spine.tenant, run, ["a"], [0], BROKER).epochs["a"]
        message = replace(message, epoch=epoch)
    codes = spine.system.call("SELECT state, error ->> 'code' FROM step_attempts WHERE run_id = %s", (run,))
    assert codes == [("killed", "worker_quarantined")] * 4


@pytest.mark.parametrize("what", ["tenant", "platform"])
def test_what_comes_meanwhile_is_accepted_and_waits_for_admission(spine: Spine, what: str) -> None:
    hold(spine, what)
    pool = f"pool-{what}"
    run = spine.declare(spine.plan(CHAIN, carriers={"a": 0, "b": 0}), broker=BROKER, pool=pool)
    assert row(spine, run) == {"state": "ready", "sent": False, "kills": 0, "attempt": 0, "tries": 0}
    assert spine.system.call("SELECT * FROM admit(10, 32, 4, 'e')") == []
    spine.system.call("INSERT INTO pools (pool) VALUES (%s) ON CONFLICT DO NOTHING", (pool,))
    loads = spine.system.call("SELECT waiting FROM pool_loads(32, 4) WHERE pool = %s", (pool,))
    assert loads == [(what == "platform",)], "who is suspended makes nobody wait"
    hold(spine, what, False)
    assert [each[1] for each in spine.system.call("SELECT * FROM admit(10, 32, 4, 'e')")] == [run]


@pytest.mark.parametrize("what", ["tenant", "platform"])
def test_nothing_is_sent_meanwhile(spine: Spine, what: str) -> None:
    run = spine.declare(spine.plan(CHAIN))
    hold(spine, what)
    assert recovery.unsent_runs(spine.system, 10, 0.0) == []
    with spine.app.tenant(spine.tenant) as connection:
        assert hot.ready_steps(connection, spine.tenant, run, 10) is None
    hold(spine, what, False)
    assert [each.run_id for each in recovery.unsent_runs(spine.system, 10, 0.0)] == [run]


def test_a_tenant_sees_no_other_tenants_suspension(spine: Spine) -> None:
    other = spine.new_tenant()
    spine.system.call("UPDATE tenants SET state = 'suspended' WHERE id = %s", (other,))
    for tenant, seen in ((spine.tenant, []), (other, [(f"tenant/{other}",)])):
        with spine.app.reading(tenant) as reader:
            assert [(each["name"],) for each in reader.rows("SELECT name FROM holds", {})] == seen
    assert spine.app.call("SELECT name FROM holds") == []


def test_an_older_worker_still_beats_and_no_protocol_is_known_of_it(spine: Spine) -> None:
    spine.system.call("SELECT * FROM beat(%s, 'old', 7, '0.9', '{default}', '[]')", (UUID(int=7),))
    told = spine.system.call("SELECT version, protocol, heeds FROM workers WHERE pid = 7")
    assert told == [("0.9", 0, "active")]


def test_orders_that_ask_for_nothing_are_forgotten_with_their_worker(spine: Spine) -> None:
    for name, state in (("gone", "active"), ("gone-too", "quarantined"), (LEASE.worker, "active")):
        order(spine, state, name)
    assert orders.forget_old(spine.system) == 1
    left = spine.system.call("SELECT name FROM worker_orders ORDER BY 1")
    assert left == [("gone-too",), (LEASE.worker,)]


def test_the_queues_tell_what_is_to_do_and_who_does_it(spine: Spine) -> None:
    plan = spine.plan(CHAIN, carriers={"a": 0, "b": 0}, queue="q")
    run, _ = (spine.declare(plan, broker=BROKER, pool="q") for _ in range(2))
    hot.claim_step(spine.app, StepMessage(spine.tenant, run, "a", 1), LEASE)
    spine.declare(plan, pool="q")
    spine.declare(plan, pool="q", hold=True)
    for boot, name in ((8, "some"), (9, "other")):
        workers.beat(spine.system, UUID(int=boot), name, 2, "1.0", ("q",), [Child(1, 1), Child(2, 2)])
    (found,) = (each for each in queues.counts(spine.system) if each.queue == "q")
    assert (found.sent, found.running, found.unsent, found.waiting_runs) == (1, 1, 1, 1)
    assert found.oldest_s is not None
    assert found.oldest_run_s is not None
    assert (found.workers, found.slots) == (2, 4)
    order(spine, "draining", "other")
    (found,) = (each for each in queues.counts(spine.system) if each.queue == "q")
    assert (found.workers, found.slots) == (1, 2)
