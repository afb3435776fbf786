"""Fans with max_parallel: never more items under way, never fewer while some wait, at any width."""

from __future__ import annotations

from random import Random
from statistics import median
from typing import Any
from uuid import UUID

import pytest

from app.db import hot, runs
from app.domain.errors import OperationFailed
from app.services.artifacts import Artifacts
from tests.support.spine import ACTOR, Race, Spine, ask

UNDER_WAY = ("ready", "running", "waiting")


def fan(spine: Spine, width: int, places: int) -> UUID:
    """A run whose fan `f` has been expanded to `width` items with so many places."""
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"], parallel={"f": places}))
    assert spine.expand(run, "f", list(range(width))) is True
    return run


def items(spine: Spine, run: UUID) -> dict[str, str]:
    return {key: state for key, state in spine.states(run).items() if key.startswith("f.")}


def count(spine: Spine, run: UUID, *states: str) -> int:
    return sum(state in states for state in items(spine, run).values())


def skip(spine: Spine, run: UUID, key: str) -> str:
    with spine.app.tenant(spine.tenant) as connection:
        return runs.skip_step(connection, spine.tenant, run, key, ACTOR, None, "not needed")[0]


def test_an_item_that_ends_hands_its_place_on_in_the_same_transaction(spine: Spine) -> None:
    run = fan(spine, 5, 2)
    assert items(spine, run) == {
        "f.0": "ready",
        "f.1": "ready",
        "f.2": "pending",
        "f.3": "pending",
        "f.4": "pending",
    }
    assert spine.step(run, "f")["input"] == {"items": 5, "max_parallel": 2}
    assert spine.send(run) == {"f.0": 1, "f.1": 1}
    assert spine.perform(run, "f.1").needs_advance is True
    assert spine.send(run) == {"f.2": 1}
    spine.perform(run, "f.0", "retry", error={"code": "x"}, retry_in_s=60)
    assert spine.send(run) == {}, "an item keeps its place while it waits for its next attempt"
    spine.perform(run, "f.2", "failed", error={"code": "x"})
    assert spine.send(run) == {"f.3": 1}, "a failed item gives its place back"
    assert (spine.step(run, "f.3")["attempt"], spine.step(run, "f.0")["attempt"]) == (0, 1)


def test_a_fan_that_would_open_too_many_steps_fails_its_own(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"], "other": []}, fans=["f"]))
    spine.admin.call("UPDATE runs SET open_steps = 99998 WHERE id = %s", (run,))
    spine.expand(run, "f", [1, 2, 3])
    assert spine.states(run) == {"f": "failed", "join": "cancelled", "other": "ready"}
    assert spine.step(run, "f")["error"]["code"] == "too_many_steps"
    second = spine.declare(spine.plan({"f": []}, fans=["f"]))
    spine.admin.call("UPDATE runs SET open_steps = 99998 WHERE id = %s", (second,))
    assert spine.expand(second, "f", [1, 2]) is True


def test_a_skip_frees_only_a_place_that_was_taken(spine: Spine) -> None:
    run = fan(spine, 5, 2)
    assert skip(spine, run, "f.3") == "ok"
    assert count(spine, run, *UNDER_WAY) == 2, "f.3 had no place to give"
    assert skip(spine, run, "f.0") == "ok"
    assert items(spine, run) == {
        "f.0": "skipped",
        "f.1": "ready",
        "f.2": "ready",
        "f.3": "skipped",
        "f.4": "pending",
    }


def test_two_that_end_at_once_release_two(spine: Spine) -> None:
    run = fan(spine, 4, 2)
    spine.send(run)
    tries = {key: spine.claim(run, key).tries for key in ("f.0", "f.1")}
    finish = "SELECT verdict FROM finish_step(%s, %s, %s, %s, 'succeeded', NULL, NULL, NULL, NULL)"
    with spine.session() as first, spine.session() as second:
        assert ask(first, finish, str(spine.tenant), str(run), "f.0", tries["f.0"]) == ("finished",)
        race = Race(second, lambda: ask(second, finish, str(spine.tenant), str(run), "f.1", tries["f.1"]))
        spine.wait_blocked(race)
        first.commit()
        assert race.result() == ("finished",)
        second.commit()
    assert items(spine, run) == dict.fromkeys(("f.0", "f.1"), "succeeded") | dict.fromkeys(
        ("f.2", "f.3"), "ready"
    )


def test_an_operators_retry_runs_the_failed_items_alone_within_the_places(spine: Spine) -> None:
    run = fan(spine, 6, 2)
    for number in range(6):
        spine.send(run)
        outcome = "failed" if number in (1, 3, 5) else "succeeded"
        spine.perform(run, f"f.{number}", outcome, error={"code": "x"} if outcome == "failed" else None)
    assert spine.run(run)["state"] == "failed"
    with spine.app.tenant(spine.tenant) as connection:
        assert runs.retry_run(connection, spine.tenant, run, ACTOR, None)[0] == "ok"
    assert items(spine, run) == {
        "f.0": "succeeded",
        "f.1": "ready",
        "f.2": "succeeded",
        "f.3": "ready",
        "f.4": "succeeded",
        "f.5": "pending",
    }
    assert spine.send(run) == {"f.1": 2, "f.3": 2}
    assert spine.perform(run, "f.3").needs_advance is True
    assert spine.send(run) == {"f.5": 2}
    spine.perform(run, "f.1")
    spine.perform(run, "f.5")
    spine.send(run)
    assert spine.perform(run, "join").run_state == "succeeded"
    tries = {key: spine.step(run, key)["tries"] for key in items(spine, run)}
    assert tries == {"f.0": 1, "f.1": 2, "f.2": 1, "f.3": 2, "f.4": 1, "f.5": 2}


@pytest.mark.parametrize("seed", range(3))
def test_as_many_as_there_are_places_whatever_happens(spine: Spine, seed: int) -> None:
    random = Random(seed)
    places = random.randint(1, 5)
    run = fan(spine, 25, places)
    while count(spine, run, "pending", *UNDER_WAY):
        spine.send(run)
        if random.random() < 0.1:
            skip(
                spine,
                run,
                random.choice(
                    [k for k, state in items(spine, run).items() if state in ("pending", "ready")] or ["f.0"]
                ),
            )
        ready = [key for key, state in items(spine, run).items() if state == "ready"]
        if ready:
            spine.claim(run, random.choice(ready))
        running = [key for key, state in items(spine, run).items() if state == "running"]
        if running and random.random() < 0.8:
            key = random.choice(running)
            outcome = random.choice(["succeeded", "failed", "skipped", "killed", "retry"])
            spine.finish(run, key, spine.step(run, key)["tries"], outcome, error={"code": "x"}, retry_in_s=0)
        spine.system.call("SELECT * FROM due_waits(10)")
        under_way = count(spine, run, *UNDER_WAY)
        assert under_way == min(places, under_way + count(spine, run, "pending"))


# Workers and senders in one: each round an item ends, the next is marked as sent, both are committed.
DRIVE = """
  DO $$
  DECLARE n integer; run uuid := '{run}'; tenant uuid := '{tenant}';
  BEGIN
    FOR n IN {first}..{last} LOOP
      PERFORM claim_step(tenant, run, 'f.' || n, 1, run, 1, 1, 'w');
      PERFORM finish_step(tenant, run, 'f.' || n, 1, 'succeeded', NULL, '1', NULL, NULL);
      COMMIT;
      PERFORM mark_sent(tenant, run, ARRAY(SELECT key FROM ready_steps(tenant, run, 2000)), '{{1}}', 'b');
      COMMIT;
    END LOOP;
  END $$
"""


# To the end of the fan without the hours between: what a drive of all items leaves in the rows.
LEAP = """
  WITH ended AS (
    UPDATE run_steps SET state = 'succeeded', needs_left = 0 WHERE run_id = %(run)s AND item < %(to)s
      AND state <> 'succeeded' RETURNING 1
  ), begun AS (
    UPDATE run_steps SET state = 'ready', needs_left = 0, ready_at = now()
    WHERE run_id = %(run)s AND item >= %(to)s AND item < %(to)s + %(places)s RETURNING 1
  ), fan AS (
    UPDATE run_steps SET needs_left = needs_left - (SELECT count(*) FROM ended)
    WHERE run_id = %(run)s AND key = 'f' RETURNING 1
  ) UPDATE runs SET open_steps = open_steps - (SELECT count(*) FROM ended) WHERE id = %(run)s
"""


def test_the_last_of_three_thousand_items_costs_what_the_first_costs(spine: Spine) -> None:
    narrow, wide = fan(spine, 30, 8), fan(spine, 3000, 8)
    usual = median(pages_read(spine, narrow, number) for number in range(12))
    early = median(pages_read(spine, wide, number) for number in range(12))
    spine.admin.call(DRIVE.format(run=wide, tenant=spine.tenant, first=12, last=311))
    leap(spine, wide, {"run": str(wide), "to": 2900, "places": 8})
    assert count(spine, wide, "succeeded") == 2900
    late = median(pages_read(spine, wide, number) for number in range(2900, 2912))
    # Slack for rows that an older snapshot keeps in the lists; what grows with the fan would read a thousand.
    assert max(early, late) <= usual * 3, (usual, early, late)


def leap(spine: Spine, run: UUID, values: dict[str, Any]) -> None:
    """Change the rows behind every trigger."""
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(LEAP, values)
        session.commit()


def pages_read(spine: Spine, run: UUID, number: int) -> int:
    """Return how many pages one item costs: its end, the look for what to send next, the mark of that."""
    spine.send(run)
    claim = spine.claim(run, f"f.{number}")
    given = (str(spine.tenant), str(run))
    statements: list[tuple[str, tuple[Any, ...]]] = [
        (
            "SELECT * FROM finish_step(%s, %s, %s, %s, 'succeeded', NULL, '1', NULL, NULL)",
            (*given, f"f.{number}", claim.tries),
        ),
        ("SELECT * FROM ready_steps(%s, %s, 2000)", given),
        ("SELECT * FROM mark_sent(%s, %s, %s::text[], '{1}', 'b')", (*given, [f"f.{number + 8}"])),
    ]
    read = 0
    with spine.app.tenant(spine.tenant) as connection:
        for statement, parameters in statements:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            ((found,),) = connection.exec_driver_sql(explain, parameters)
            read += found[0]["Plan"]["Shared Hit Blocks"] + found[0]["Plan"]["Shared Read Blocks"]
    assert spine.step(run, f"f.{number + 8}")["sent_at"] is not None
    with spine.app.tenant(spine.tenant) as connection:
        assert hot.ready_steps(connection, spine.tenant, run, 2000) is None
    return read


def test_outputs_that_are_too_large_together_fail_who_refers_to_them(spine: Spine) -> None:
    run = fan(spine, 300, 300)
    store = Artifacts(None)  # type: ignore[arg-type]  # nothing is read

    def together(characters: int) -> Any:
        spine.admin.call(
            "UPDATE run_steps SET state = 'succeeded', output = to_jsonb(repeat('x', %s))"
            " WHERE run_id = %s AND item IS NOT NULL",
            (characters, run),
        )
        output = spine.admin.call("SELECT fan_output(%s, %s, 'f')", (spine.tenant, run))[0][0]
        return store.opened(spine.tenant, {"steps": {"f": {"output": output}}})["steps"]["f"]["output"]

    assert together(10) == ["x" * 10] * 300
    with pytest.raises(OperationFailed) as refused:
        together(250_000)
    assert refused.value.code == "output_too_large"
