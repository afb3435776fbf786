"""Lots: the end of one step with the taking of another that nobody has a message of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from app.db import hot, lots, recovery, runs
from app.db.ids import new_id
from app.domain.leases import Child, Lease, Lot
from tests.support.spine import ACTOR, BROKER, LEASE, Spine, ask

OTHER = Lease(UUID(int=2), Child(200, 2), "worker-2")
HEADER = ("a", "b", "c", "d")
GRAPH: dict[str, Sequence[str]] = {**dict.fromkeys(HEADER, ()), "join": HEADER}


def deal_out(spine: Spine, run: UUID, keys: Sequence[str] = HEADER, messages: int = 1) -> Lot:
    """Mark the steps as sent, so many of them with messages."""
    lot = new_id()
    dealt = {key: hot.Place(lot, n >= messages) for n, key in enumerate(keys)}
    with spine.app.tenant(spine.tenant) as connection:
        carriers = [7] * len(keys)
        sent = hot.mark_sent(connection, spine.tenant, run, list(keys), carriers, BROKER, dealt)
    assert set(sent.lots.values()) == {lot}
    return Lot(spine.tenant, run, lot)


@pytest.fixture
def dealt(spine: Spine) -> tuple[UUID, Lot]:
    run = spine.declare(spine.plan(GRAPH))
    return run, deal_out(spine, run)


def hand_on(
    spine: Spine,
    lot: Lot,
    key: str,
    tries: int,
    outcome: str = "succeeded",
    lease: Lease = LEASE,
    **values: Any,
) -> tuple[hot.Finish, lots.Taken | None]:
    message = spine.message(lot.run_id, key)
    return lots.finish_and_take(spine.app, message, tries, outcome, lot, lease, **values)


def taken(found: lots.Taken | None) -> str | None:
    return None if found is None else found.message.key


def test_each_end_takes_the_next_until_none_is_left(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    claim, order = spine.claim(run, "a"), ["a"]
    while True:
        finish, onward = hand_on(spine, lot, order[-1], claim.tries, output={"key": order[-1]})
        assert finish.verdict == "finished"
        if onward is None:
            break
        assert (onward.claim.verdict, onward.claim.attempt, onward.message.lot) == ("claimed", 1, lot.id)
        assert spine.step(run, onward.message.key)["lease_pid"] == LEASE.child.pid
        claim, order = onward.claim, [*order, onward.message.key]
    assert order == list(HEADER)
    assert finish.needs_advance, "nobody has sent the join"
    spine.send(run)
    assert spine.perform(run, "join").run_state == "succeeded"
    rows = spine.admin.call("SELECT count(*) FROM step_attempts WHERE run_id = %s", (run,))
    assert rows[0][0] == 5


def test_the_rows_are_those_of_steps_with_messages(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    _, onward = hand_on(spine, lot, "a", spine.claim(run, "a").tries)
    assert onward is not None
    hand_on(spine, lot, "b", onward.claim.tries, input={"x": 1}, output={"y": 2})
    other = spine.declare(spine.plan(GRAPH))
    spine.send(other)
    for key, values in (("a", {}), ("b", {"input": {"x": 1}, "output": {"y": 2}})):
        spine.perform(other, key, **values)
    spine.claim(other, "c")
    own = ("run_id", "lot", "loose", "carrier")
    for key in HEADER:
        one, two = spine.step(run, key), spine.step(other, key)
        assert {n: v for n, v in one.items() if n not in own and not n.endswith("_at")} == {
            n: v for n, v in two.items() if n not in own and not n.endswith("_at")
        }
    assert spine.run(run)["open_steps"] == spine.run(other)["open_steps"]


@pytest.mark.parametrize(
    ("outcome", "state"), [("retry", "waiting"), ("killed", "ready"), ("failed", "failed")]
)
def test_an_end_that_is_no_success_takes_the_next_too(
    spine: Spine, dealt: tuple[UUID, Lot], outcome: str, state: str
) -> None:
    run, lot = dealt
    error = {"code": "boom"}
    _, onward = hand_on(spine, lot, "a", spine.claim(run, "a").tries, outcome, error=error, retry_in_s=60.0)
    assert taken(onward) == "b"
    assert spine.step(run, "a")["state"] == state


def test_an_output_that_cannot_be_kept_fails_the_step_and_takes_the_next(
    spine: Spine, dealt: tuple[UUID, Lot]
) -> None:
    run, lot = dealt
    finish, onward = hand_on(spine, lot, "a", spine.claim(run, "a").tries, output={"n": float("nan")})
    assert (finish.kept, taken(onward), spine.step(run, "a")["state"]) == (False, "b", "failed")


def fan_of_two_places(spine: Spine) -> tuple[UUID, Lot]:
    """A run whose fan has six items, the first two of them with places and messages of one lot."""
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"], parallel={"f": 2}))
    spine.expand(run, "f", list(range(6)))
    return run, deal_out(spine, run, ("f.0", "f.1"), messages=2)


def test_an_item_hands_its_place_on_to_whoever_ended_it(spine: Spine) -> None:
    run, lot = fan_of_two_places(spine)
    finish, onward = hand_on(spine, lot, "f.0", spine.claim(run, "f.0").tries)
    assert (finish.needs_advance, taken(onward), spine.states(run)["f.3"]) == (False, "f.2", "pending")
    assert onward is not None and (onward.message.epoch, onward.message.lot) == (1, lot.id)
    error = {"code": "x"}
    finish, onward = hand_on(spine, lot, "f.2", onward.claim.tries, "failed", error=error)
    assert (finish.needs_advance, taken(onward)) == (False, "f.3"), "however it ended"
    with spine.app.tenant(spine.tenant) as connection:
        runs.skip_step(connection, spine.tenant, run, "f.1", ACTOR, None, "not needed")
    skipped = spine.step(run, "f.4")
    assert (skipped["state"], skipped["sent_at"], skipped["loose"]) == ("ready", None, False), "it is sent"


@pytest.mark.parametrize(
    "change", ["held_steps = 0", "state = 'pausing'", "state = 'cancelling'"], ids=lambda one: one.split()[-1]
)
def test_a_place_that_may_be_due_to_others_is_not_handed_on(spine: Spine, change: str) -> None:
    run, lot = fan_of_two_places(spine)
    tries = spine.claim(run, "f.0").tries
    spine.admin.call(f"UPDATE runs SET {change} WHERE id = %s", (run,))
    _, onward = hand_on(spine, lot, "f.0", tries)
    assert onward is None
    assert (spine.step(run, "f.2")["sent_at"], spine.step(run, "f.2")["loose"]) == (None, False)


def test_a_drained_worker_leaves_the_next_item_to_others(spine: Spine) -> None:
    run, lot = fan_of_two_places(spine)
    tries = spine.claim(run, "f.0").tries
    spine.admin.call("INSERT INTO holds (name) VALUES (%s)", (f"worker/{LEASE.worker}",))
    try:
        finish, onward = hand_on(spine, lot, "f.0", tries)
    finally:
        spine.admin.call("DELETE FROM holds WHERE name = %s", (f"worker/{LEASE.worker}",))
    assert (finish.needs_advance, onward, spine.step(run, "f.2")["sent_at"]) == (True, None, None)


def test_a_pause_takes_the_loose_ones_away(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    claim = spine.claim(run, "a")
    with spine.app.tenant(spine.tenant) as connection:
        values = (spine.tenant, run, ACTOR, spine.run(run)["version"])
        connection.exec_driver_sql("SELECT pause_run(%s, %s, %s, %s, NULL)", values)
    finish, onward = hand_on(spine, lot, "a", claim.tries)
    assert (finish.run_state, onward) == ("paused", None)
    assert {spine.step(run, key)["state"] for key in "bcd"} == {"ready"}


def test_a_cancellation_takes_the_loose_ones_away(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    claim = spine.claim(run, "a")
    with spine.app.tenant(spine.tenant) as connection:
        values = (spine.tenant, run, ACTOR)
        connection.exec_driver_sql("SELECT cancel_run(%s, %s, %s, NULL, NULL)", values)
    finish, onward = hand_on(spine, lot, "a", claim.tries)
    assert (finish.run_state, onward) == ("cancelled", None)
    assert {spine.step(run, key)["state"] for key in "bcd"} == {"cancelled"}


def test_who_lost_its_step_takes_nothing(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    tries = spine.claim(run, "a").tries
    spine.finish(run, "a", tries)
    finish, onward = hand_on(spine, lot, "a", tries, lease=OTHER)
    assert (finish.verdict, onward) == ("lost", None)
    assert spine.step(run, "b")["state"] == "ready"


def test_an_answer_that_was_lost_is_asked_for_again(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    tries = spine.claim(run, "a").tries
    _, before = hand_on(spine, lot, "a", tries)
    assert hand_on(spine, lot, "a", tries)[0].verdict == "lost"
    assert spine.claim(run, "a").verdict == "done"
    again = lots.take_step(spine.app, lot, LEASE)
    assert before is not None
    assert again == before
    assert taken(lots.take_step(spine.app, lot, OTHER)) == "c"


def test_two_takers_never_take_the_same_and_never_wait_for_each_other(
    spine: Spine, dealt: tuple[UUID, Lot]
) -> None:
    run, lot = dealt
    spine.claim(run, "a")
    take = "SELECT key FROM take_step(%s, %s, %s, %s, %s, 1, 'w')"
    with spine.session() as one, spine.session() as two:
        ask(two, "SELECT set_config('lock_timeout', '2s', true)")
        first = ask(one, take, spine.tenant, run, lot.id, LEASE.boot, 1)
        second = ask(two, take, spine.tenant, run, lot.id, OTHER.boot, 2)
        one.commit()
        two.commit()
    assert (first[0], second[0]) == ("b", "c")


def test_a_message_of_its_own_is_claimed_by_that_message_alone(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    _, onward = hand_on(spine, lot, "a", spine.claim(run, "a").tries)
    assert taken(onward) == "b"
    passed = lots.pass_on(spine.app, lot)
    assert passed is not None
    assert (passed.message.key, passed.message.lot, passed.operation) == ("c", lot.id, "core.echo")
    assert taken(lots.take_step(spine.app, lot, OTHER)) == "d"
    assert lots.pass_on(spine.app, lot) is None
    assert hot.claim_step(spine.app, passed.message, OTHER).verdict == "claimed"


def test_a_later_dispatch_is_none_of_an_earlier_lot(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    claim = spine.claim(run, "a")
    epochs = {key: spine.step(run, key)["dispatch_epoch"] for key in "bcd"}
    assert hot.unmark_sent(spine.app, spine.tenant, run, epochs) == 3
    later = deal_out(spine, run, "bcd")
    assert hand_on(spine, lot, "a", claim.tries)[1] is None
    assert taken(lots.take_step(spine.app, later, LEASE)) == "c", "b has a message"


def test_what_is_sent_again_by_itself_still_takes_others_along(spine: Spine, dealt: tuple[UUID, Lot]) -> None:
    run, lot = dealt
    spine.finish(run, "a", spine.claim(run, "a").tries, "killed")
    with spine.app.tenant(spine.tenant) as connection:
        sent = hot.mark_sent(connection, spine.tenant, run, ["a"], [1], BROKER)
    assert sent.lots == {"a": lot.id}
    assert not spine.step(run, "a")["loose"]
    assert taken(hand_on(spine, lot, "a", spine.claim(run, "a").tries)[1]) == "b"


def test_a_loose_step_is_tended_by_whoever_has_a_message_or_runs(
    spine: Spine, dealt: tuple[UUID, Lot]
) -> None:
    run, lot = dealt
    spine.admin.call(
        "UPDATE run_steps SET sent_at = sent_at - interval '9 s', ready_at = ready_at - interval '9 s'"
        " WHERE run_id = %s RETURNING 1",
        (run,),
    )

    def looked() -> dict[str, tuple[bool, bool]]:
        found = recovery.candidates_lost(spine.system, 100)
        return {one.key: (one.loose, one.tended) for one in found if one.run_id == run}

    assert looked() == {"a": (False, True), "b": (True, True), "c": (True, True), "d": (True, True)}
    claim = spine.claim(run, "a")
    assert looked() == dict.fromkeys("bcd", (True, True))
    spine.finish(run, "a", claim.tries)
    assert looked() == dict.fromkeys("bcd", (True, False))
    assert taken(lots.take_step(spine.app, lot, LEASE)) == "b"
    assert looked() == dict.fromkeys("cd", (True, True))


def test_how_many_processes_of_its_queue_are_idle_is_told(spine: Spine) -> None:
    boot = new_id()
    spine.system.call(
        "SELECT * FROM beat(%s, 'h', 1, 'v', ARRAY['own'], %s::jsonb)",
        (boot, '[{"pid": 1, "born": 1}, {"pid": 2, "born": 1}, {"pid": 3, "born": 1}]'),
    )
    run = spine.declare(spine.plan(GRAPH, queue="own"))
    deal_out(spine, run)
    spine.claim(run, "a")
    spine.admin.call(
        "UPDATE run_steps SET sent_at = sent_at - interval '9 s', ready_at = ready_at - interval '9 s'"
        " WHERE run_id = %s RETURNING 1",
        (run,),
    )
    idle = {one.idle for one in recovery.candidates_lost(spine.system, 100) if one.run_id == run}
    assert idle == {2}
    with spine.app.tenant(spine.tenant) as connection:
        assert lots.queue_slots(connection)["own"] == 3
