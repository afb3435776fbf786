"""Races between open transactions, forced by holding the first one open while the second runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

from tests.support.spine import LEASE, Race, Spine, ask

FINISH = "SELECT * FROM finish_step(%s, %s, %s, %s, 'succeeded', NULL, '1', NULL, NULL)"
CLAIM = "SELECT verdict FROM claim_step(%s, %s, %s, 1, %s, %s, 1, 'w')"
CANCEL = "SELECT verdict, run_state FROM cancel_run(%s, %s, '{}', NULL, NULL)"
RUNS = 400
MARK = "SELECT array_agg(key) FROM mark_sent(%s, %s, ARRAY['a'], ARRAY[7], 'b')"


def test_last_needs_of_a_join_finish_together(spine: Spine) -> None:
    run = spine.start({"a": [], "b": [], "join": ["a", "b"]})
    tries = {key: spine.claim(run, key).tries for key in "ab"}
    with spine.session() as one, spine.session() as two:
        assert ask(one, FINISH, spine.tenant, run, "a", tries["a"])[0] == "finished"
        race = Race(two, partial(ask, two, FINISH, spine.tenant, run, "b", tries["b"]))
        spine.wait_blocked(race)
        one.commit()
        assert race.result()[0] == "finished"
        two.commit()
    assert spine.states(run)["join"] == "ready"


def test_last_open_steps_finish_together(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    tries = {key: spine.claim(run, key).tries for key in "ab"}
    with spine.session() as one, spine.session() as two:
        ask(one, FINISH, spine.tenant, run, "a", tries["a"])
        race = Race(two, partial(ask, two, FINISH, spine.tenant, run, "b", tries["b"]))
        spine.wait_blocked(race)
        one.commit()
        race.result()
        two.commit()
    assert spine.run(run)["state"] == "succeeded"
    assert spine.events(run) == ["run.started", "run.succeeded"]


def test_two_claims_of_one_step(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    spine.claim(run, "b")  # the run has begun, so only the step's row is contended
    with spine.session() as one, spine.session() as two:
        assert ask(one, CLAIM, spine.tenant, run, "a", LEASE.boot, 1) == ("claimed",)
        race = Race(two, partial(ask, two, CLAIM, spine.tenant, run, "a", LEASE.boot, 2))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("lost",)
        two.commit()
    assert spine.step(run, "a")["tries"] == 1


def test_first_claims_of_a_queued_run_start_it_once(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    with spine.session() as one, spine.session() as two:
        ask(one, CLAIM, spine.tenant, run, "a", LEASE.boot, 1)
        race = Race(two, partial(ask, two, CLAIM, spine.tenant, run, "b", LEASE.boot, 2))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("claimed",)
        two.commit()
    assert spine.events(run) == ["run.started"]


def test_finish_waits_for_a_cancel_then_releases_nothing(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    tries = spine.claim(run, "a").tries
    with spine.session() as one, spine.session() as two:
        assert ask(one, CANCEL, spine.tenant, run) == ("ok", "cancelling")
        race = Race(two, partial(ask, two, FINISH, spine.tenant, run, "a", tries))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("finished", "cancelled", False)
        two.commit()
    assert spine.states(run) == {"a": "succeeded", "b": "cancelled"}


def test_cancel_sees_a_claim_that_commits_while_it_waits(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    spine.perform(run, "b")
    with spine.session() as one, spine.session() as two:
        ask(one, CLAIM, spine.tenant, run, "a", LEASE.boot, 1)
        race = Race(two, partial(ask, two, CANCEL, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("ok", "cancelling")
        two.commit()
    assert spine.finish(run, "a", 1).run_state == "cancelled"


def test_claim_loses_against_a_cancel(spine: Spine) -> None:
    run = spine.start({"a": []})
    with spine.session() as one, spine.session() as two:
        assert ask(one, CANCEL, spine.tenant, run) == ("ok", "cancelled")
        race = Race(two, partial(ask, two, CLAIM, spine.tenant, run, "a", LEASE.boot, 1))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("lost",)
        two.commit()
    assert spine.run(run)["state"] == "cancelled"


def test_two_advances_mark_a_step_once(spine: Spine) -> None:
    run = spine.declare(spine.plan({"a": []}))
    with spine.session() as one, spine.session() as two:
        assert ask(one, MARK, spine.tenant, run) == (["a"],)
        race = Race(two, partial(ask, two, MARK, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == (None,)
        two.commit()
    assert spine.step(run, "a")["dispatch_epoch"] == 1


def test_two_expansions_write_the_items_once(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": []}, fans=["f"]))
    expand = "SELECT expand_step(%s, %s, 'f', '[1, 2]')"
    with spine.session() as one, spine.session() as two:
        assert ask(one, expand, spine.tenant, run) == (True,)
        race = Race(two, partial(ask, two, expand, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == (False,)
        two.commit()
    assert spine.states(run) == {"f": "waiting", "f.0": "ready", "f.1": "ready"}


def test_two_retries_of_a_run(spine: Spine) -> None:
    run = spine.start({"a": []})
    spine.perform(run, "a", "failed", error={"code": "x"})
    retry = "SELECT verdict FROM retry_run(%s, %s, '{}', NULL)"
    with spine.session() as one, spine.session() as two:
        assert ask(one, retry, spine.tenant, run) == ("ok",)
        race = Race(two, partial(ask, two, retry, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("illegal",)
        two.commit()
    assert spine.run(run)["round"] == 1


def test_lower_event_that_commits_late_is_numbered_later(spine: Spine) -> None:
    emit = "SELECT emit_event(%s, %s, 1, 'user.created', '{}', '{}')"
    number = "SELECT sequence_events(100)"
    spine.system.call(number)
    with spine.session() as one, spine.session() as two:
        ask(one, emit, spine.tenant, "users/early")
        ask(two, emit, spine.tenant, "users/late")
        two.commit()
        assert spine.system.call(number) == [(1,)]
        seen = spine.admin.call("SELECT max(position) FROM events")[0][0]
        one.commit()
    assert spine.system.call(number) == [(1,)]
    rows = spine.admin.call("SELECT subject FROM events WHERE position > %s", (seen,))
    assert rows == [("users/early",)], "a reader that stopped at the last position must still find it"


def test_two_sequencers_number_each_event_once(spine: Spine) -> None:
    with spine.session() as writer:
        for seq in range(1, 4):
            ask(writer, "SELECT emit_event(%s, 'users/x', %s, 'user.created', '{}', '{}')", spine.tenant, seq)
        writer.commit()
    with spine.session(spine.urls.system) as one, spine.session(spine.urls.system) as two:
        assert ask(one, "SELECT sequence_events(100)") == (3,)
        assert ask(two, "SELECT sequence_events(100)") == (0,)
        one.commit()
        two.commit()


def test_no_first_claim_is_lost_whenever_the_other_one_starts_the_run(spine: Spine) -> None:
    # The run may begin between two statements of a claim, which no lock can force: so often, at a barrier.
    graph = {"a": [], "b": []}
    runs = [spine.start(graph) for _ in range(RUNS)]
    barrier = Barrier(2)

    def claims(key: str) -> list[str]:
        found = []
        for run in runs:
            barrier.wait()
            found.append(spine.claim(run, key).verdict)
        return found

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(claims, "a"), pool.submit(claims, "b")
        assert set(one.result() + two.result()) == {"claimed"}
