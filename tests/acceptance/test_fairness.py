"""Fair admission with real processes: a small tenant is served beside a big one, queues stay short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from app.services.submit import Submission, submit_intents
from tests.support.rig import Rig, note, rig_on
from tests.support.waiting import eventually
from workflows.checks import check_definition
from workflows.parsing import parse_definition, parse_text

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "concurrency.yaml"
FLOOR = 4
MANY = 80
FEW = 4


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    settings = {**environ, "ADMISSION_FLOOR": str(FLOOR), "ADMISSION_PER_SLOT": "2"}
    with rig_on(settings, tmp_path_factory.mktemp("rig")) as running:
        running.worker()
        running.beat()
        yield running


def test_ten_runs_do_not_wait_behind_a_neighbours_crowd(rig: Rig) -> None:
    big, small = rig.tenant(), rig.tenant()
    deps = rig.deps({"name": "test.fair", "version": 1, "steps": [note("a"), note("b", "a")]})
    sent = [Submission("test.fair", {}) for _ in range(MANY)]
    submit_intents(deps, big, sent)
    submit_intents(deps, small, sent[:FEW])
    waiting = rig.rows("SELECT count(*) AS n FROM runs WHERE admitted_at IS NULL")[0]["n"]
    assert waiting > MANY / 2

    def ended() -> bool:
        return bool(
            rig.rows("SELECT count(*) = %s AS all FROM runs WHERE state = 'succeeded'", MANY + FEW)[0]["all"]
        )

    eventually(ended, within=60, what="all runs succeed")
    place = {row["id"]: n for n, row in enumerate(rig.rows("SELECT id FROM runs ORDER BY admitted_at"))}
    mine = [place[row["id"]] for row in rig.rows("SELECT id FROM runs WHERE tenant_id = %s", small.tenant_id)]
    assert max(mine) < MANY / 2, sorted(mine)


def test_a_limited_tenant_keeps_its_limit_while_work_flows(rig: Rig) -> None:
    actor = rig.tenant()
    rig.rows("INSERT INTO tenant_limits (tenant_id, max_running_runs) VALUES (%s, 2)", actor.tenant_id)
    runs: list[UUID] = [rig.submit([note("a"), note("b", "a")], actor=actor) for _ in range(8)]
    for run in runs:
        rig.ends(run)
    (most,) = rig.rows(
        "SELECT max(busy) AS busy FROM (SELECT (SELECT count(*) FROM runs o WHERE o.id = ANY (%s)"
        "   AND o.admitted_at <= r.admitted_at AND o.finished_at > r.admitted_at) AS busy"
        " FROM runs r WHERE r.id = ANY (%s)) AS seen",
        runs,
        runs,
    )
    assert most["busy"] <= 2


def test_a_tenant_with_one_step_at_a_time_never_has_two(rig: Rig) -> None:
    actor = rig.tenant()
    rig.rows("INSERT INTO tenant_limits (tenant_id, max_running_steps) VALUES (%s, 1)", actor.tenant_id)
    forks = [
        note("a"),
        *(note(name, "a", **{"with": {"seconds": 0.1}}) for name in "bc"),
        note("d", "b", "c"),
    ]
    each = note("each", "list", foreach="range(5)")
    fan = [note("list"), each, note("end", "each"), {"id": "time", "wait": {"for": "PT0.1S"}}]
    runs = [rig.submit(steps, actor=actor) for steps in (fan, forks, fan, [note("x"), note("y", "x")])]
    for run in runs:
        rig.ends(run)
        rig.checks(run)
    spans = rig.rows(
        "SELECT key, started_at, lag(finished_at) OVER (ORDER BY started_at) AS before FROM run_steps"
        " WHERE run_id = ANY (%s) AND operation = 'testkit.note' AND NOT is_fan ORDER BY started_at",
        runs,
    )
    assert len(spans) == 2 * 7 + 4 + 2
    assert all(span["before"] is None or span["before"] <= span["started_at"] for span in spans), spans


def test_the_documented_example_runs_one_at_a_time_for_each_account(rig: Rig) -> None:
    document = parse_text(EXAMPLE.read_text())
    check_definition(parse_definition(document), rig.registry)
    actor = rig.tenant()
    same = [rig.submit_definition(document, {"account": 1, "amount": n}, actor=actor) for n in range(3)]
    other = rig.submit_definition(document, {"account": 2, "amount": 9}, actor=actor)
    for run in (*same, other):
        rig.ends(run)
    spans = rig.rows(
        "SELECT admitted_at, finished_at, lag(finished_at) OVER (ORDER BY admitted_at) AS before"
        " FROM runs WHERE id = ANY (%s) ORDER BY admitted_at",
        same,
    )
    assert all(span["before"] is None or span["before"] <= span["admitted_at"] for span in spans), spans
    assert rig.run(other)["admitted_at"] < spans[-1]["admitted_at"]
