"""Time limits of steps, on real workers whose steps do not want to hear of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.rig import Rig, note, rig_on

GRACE_S = 1


@pytest.fixture(scope="module")
def strict(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig whose worker kills a step a second after its soft limit."""
    folder = tmp_path_factory.mktemp("strict")
    with rig_on({**environ, "STEP_KILL_AFTER_S": str(GRACE_S)}, folder) as rig:
        rig.beat()
        rig.worker(concurrency=3)
        yield rig


def test_steps_that_ignore_signals_or_keep_the_lock_are_killed_at_their_hard_limit(strict: Rig) -> None:
    retry = {"attempts": 2, "backoff": 0.1, "jitter": 0}
    deaf = {"id": "deaf", "uses": "testkit.sleep_through"}
    locked = {"id": "locked", "uses": "testkit.keep_lock", "retry": retry, "continue_on_failure": True}
    runs = strict.submit([deaf, note("after", "deaf")]), strict.submit([locked, note("after", "locked")])
    strict.ends(runs[0], "failed", within=20)
    strict.ends(runs[1], within=20)
    for run, key, tries in ((runs[0], "deaf", 1), (runs[1], "locked", 2)):
        row = strict.step(run, key)
        assert (row["error"]["code"], row["tries"], row["kills"]) == ("timeout", tries, 0)
        assert len(strict.ledger.begun(str(run), key)) == tries
    assert strict.step(runs[0], "after")["state"] == "cancelled"
    assert len(strict.ledger.begun(str(runs[1]), "after")) == 1
    spent = strict.rows(
        "SELECT pid, extract(epoch FROM finished_at - started_at)::float AS s FROM step_attempts"
        " WHERE run_id = ANY(%s) AND key IN ('deaf', 'locked')",
        list(runs),
    )
    assert all(1 + GRACE_S <= row["s"] < 1 + GRACE_S + 6 for row in spent), spent
    assert len({row["pid"] for row in spent}) == len(spent), "each attempt cost its process"
    strict.checks(runs[1])


def test_the_limit_is_each_step_s_own_however_they_travel(strict: Rig) -> None:
    slow = {"timeout": 1, "with": {"seconds": 0.7}}
    run = strict.submit([note("a", **slow), note("b", "a", **slow), note("c", "b", **slow)])
    strict.ends(run, within=20)
    assert [row["tries"] for row in strict.steps(run).values()] == [1, 1, 1]
