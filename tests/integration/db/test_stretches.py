"""The end of one step with the claim of the next, in one commit."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import hot
from app.domain.leases import Child, Lease
from tests.support.spine import ACTOR, LEASE, Spine

OTHER = Lease(UUID(int=2), Child(200, 2), "worker-2")


def hand_on(
    spine: Spine, run: UUID, key: str, tries: int, following: str, lease: Lease = LEASE, **values: Any
) -> tuple[hot.Finish, hot.Claim | None]:
    message, ahead = spine.message(run, key), spine.message(run, following)
    return hot.finish_and_claim(spine.app, message, tries, "succeeded", ahead, lease, **values)


def test_one_ends_the_next_is_claimed_with_its_context(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "c": ["b"]})
    first = spine.claim(run, "a")
    finish, claim = hand_on(spine, run, "a", first.tries, "b", output={"n": 1})
    assert (finish.verdict, finish.needs_advance) == ("finished", False)
    assert claim is not None
    assert (claim.verdict, claim.tries, claim.attempt) == ("claimed", 1, 1)
    assert spine.states(run) == {"a": "succeeded", "b": "running", "c": "pending"}
    finish, claim = hand_on(spine, run, "b", claim.tries, "c")
    assert claim is not None
    assert spine.finish(run, "c", claim.tries).run_state == "succeeded"
    rows = spine.admin.call("SELECT count(*) FROM step_attempts WHERE run_id = %s", (run,))
    assert rows[0][0] == 3


def test_a_pause_is_seen_at_the_boundary(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    first = spine.claim(run, "a")
    with spine.app.tenant(spine.tenant) as connection:
        connection.exec_driver_sql(
            "SELECT pause_run(%s, %s, %s, %s, NULL)",
            (spine.tenant, run, ACTOR, spine.run(run)["version"]),
        )
    finish, claim = hand_on(spine, run, "a", first.tries, "b")
    assert (finish.verdict, finish.run_state) == ("finished", "paused")
    assert claim is not None
    assert claim.verdict == "lost"
    assert spine.states(run) == {"a": "succeeded", "b": "ready"}


def test_who_lost_its_step_claims_nothing(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    first = spine.claim(run, "a")
    spine.finish(run, "a", first.tries)
    finish, claim = hand_on(spine, run, "a", first.tries, "b", OTHER)
    assert (finish.verdict, claim) == ("lost", None)
    assert spine.states(run)["b"] == "ready"


def test_an_answer_that_was_lost_is_asked_for_again(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    first = spine.claim(run, "a")
    _, before = hand_on(spine, run, "a", first.tries, "b")
    assert hand_on(spine, run, "a", first.tries, "b")[0].verdict == "lost"
    assert spine.claim(run, "a").verdict == "done"
    again = spine.claim(run, "b")
    assert before is not None
    assert (again.verdict, again.tries) == ("claimed", before.tries)


def test_an_output_that_cannot_be_kept_fails_the_step_and_claims_nothing(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    first = spine.claim(run, "a")
    finish, claim = hand_on(spine, run, "a", first.tries, "b", output={"n": float("nan")})
    assert (finish.verdict, claim) == ("finished", None)
    assert spine.states(run) == {"a": "failed", "b": "cancelled"}


def test_a_mark_that_was_taken_back_is_seen_at_the_boundary(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    first = spine.claim(run, "a")
    spine.admin.call(
        "UPDATE run_steps SET sent_at = NULL WHERE run_id = %s AND key = 'b' RETURNING 1", (run,)
    )
    finish, claim = hand_on(spine, run, "a", first.tries, "b")
    assert (finish.verdict, finish.needs_advance) == ("finished", True)
    assert claim is not None
    assert claim.verdict == "lost"
    assert spine.states(run) == {"a": "succeeded", "b": "ready"}


def test_another_dispatch_is_seen_at_the_boundary(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    first, ahead = spine.claim(run, "a"), spine.message(run, "b", 7)
    _, claim = hot.finish_and_claim(
        spine.app, spine.message(run, "a"), first.tries, "succeeded", ahead, LEASE
    )
    assert claim is not None
    assert claim.verdict == "lost"
    assert spine.states(run) == {"a": "succeeded", "b": "ready"}


def test_a_join_with_open_needs_is_not_claimed(spine: Spine) -> None:
    run = spine.start({"a": [], "b": [], "join": ["a", "b"]})
    first = spine.claim(run, "a")
    _, claim = hand_on(spine, run, "a", first.tries, "join")
    assert claim is not None
    assert claim.verdict == "lost"
    assert (spine.step(run, "join")["state"], spine.step(run, "join")["needs_left"]) == ("pending", 1)
    spine.perform(run, "b")
    assert spine.perform(run, "join").run_state == "succeeded"


def test_a_chain_leaves_the_same_rows_whichever_way_it_went(spine: Spine) -> None:
    graph = {"a": [], "b": ["a"], "c": ["b"]}
    one, two = spine.start(graph), spine.start(graph)
    for key in graph:
        spine.perform(one, key, input={"key": key}, output=key)
    claim = spine.claim(two, "a")
    for key, following in (("a", "b"), ("b", "c")):
        _, claimed = hand_on(spine, two, key, claim.tries, following, input={"key": key}, output=key)
        assert claimed is not None
        claim = claimed
    spine.finish(two, "c", claim.tries, input={"key": "c"}, output="c")
    assert traces(spine, one) == traces(spine, two)


def traces(spine: Spine, run: UUID) -> list[Any]:
    """Everything that a run left but for ids and times."""
    found = []
    for table, column in (("runs", "id"), ("run_steps", "run_id"), ("step_attempts", "run_id")):
        rows = spine.admin.call(
            f"SELECT to_jsonb(t) FROM {table} t WHERE {column} = %s ORDER BY to_jsonb(t) ->> 'key'",
            (run,),
        )
        found.append([{name: shown(name, value) for name, value in row[0].items()} for row in rows])
    return [*found, spine.events(run)]


def shown(name: str, value: Any) -> Any:
    """The value itself; of an id or a time only whether it is there."""
    own = name in ("id", "run_id", "intent_id", "plan_hash") or name.endswith("_at")
    return value is not None if own else value
