"""Progress in the rows: of the present claim only, of the tenant only, pruned by age."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import progress, reads
from app.db.prune import Pruner
from app.domain.paging import PageRequest
from tests.support.spine import Spine


def shown(spine: Spine, run: UUID) -> dict[str, Any]:
    with spine.app.tenant(spine.tenant) as connection:
        first = reads.first_steps(connection, spine.tenant, run)
        paged = reads.page_steps(connection, spine.tenant, run, PageRequest(), None).items
    found = {step["key"]: step["progress"] for step in first}
    assert found == {step["key"]: step["progress"] for step in paged}
    return found


def report(spine: Spine, run: UUID, tries: int, fraction: float | None, text: str | None = None) -> bool:
    return progress.report(spine.app, spine.message(run, "a"), tries, fraction, text)


def test_the_latest_report_of_a_running_step_is_shown(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    assert not report(spine, run, 0, 0.1), "nobody has claimed it"
    tries = spine.claim(run, "a").tries
    assert shown(spine, run) == {"a": None, "b": None}
    assert report(spine, run, tries, 0.4, "four of ten")
    assert report(spine, run, tries, 0.5, "five of ten")
    found = shown(spine, run)["a"]
    assert (found["fraction"], found["message"]) == (0.5, "five of ten")
    assert found["at"].startswith("20")
    spine.finish(run, "a", tries)
    assert shown(spine, run) == {"a": None, "b": None}
    assert not report(spine, run, tries, 0.9), "the step has ended"


def test_a_late_owner_is_not_heard(spine: Spine) -> None:
    run = spine.start({"a": []})
    first = spine.claim(run, "a").tries
    report(spine, run, first, 0.9)
    spine.finish(run, "a", first, "killed")
    spine.send(run)
    second = spine.claim(run, "a").tries
    assert shown(spine, run)["a"] is None, "the new claim has told nothing yet"
    assert not report(spine, run, first, 0.95)
    assert report(spine, run, second, 0.1)
    assert shown(spine, run)["a"]["fraction"] == 0.1


def test_a_failed_step_shows_how_far_it_came(spine: Spine) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    report(spine, run, tries, 0.7)
    spine.finish(run, "a", tries, "failed", error={"code": "x"})
    assert shown(spine, run)["a"]["fraction"] == 0.7


def test_reports_stay_within_their_page(spine: Spine) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    query = "SELECT ctid::text FROM step_progress WHERE run_id = %s"
    report(spine, run, tries, 0.0)
    ((first,),) = spine.admin.call(query, (run,))
    for n in range(20):
        report(spine, run, tries, n / 20, f"{n} of 20")
    ((last,),) = spine.admin.call(query, (run,))
    assert first.split(",")[0] == last.split(",")[0]


def test_another_tenant_neither_reports_nor_sees(spine: Spine) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    report(spine, run, tries, 0.3)
    mine, spine.tenant = spine.tenant, spine.new_tenant()
    try:
        assert not progress.report(spine.app, _as(spine, run), tries, 1.0, None)
        assert shown(spine, run) == {}
    finally:
        spine.tenant = mine
    assert shown(spine, run)["a"]["fraction"] == 0.3


def test_old_reports_are_pruned(spine: Spine) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    report(spine, run, tries, 0.3)
    spine.admin.call("UPDATE step_progress SET created_at = '2020-01-01' WHERE run_id = %s", (run,))
    assert Pruner(spine.system).delete("step_progress", 60.0, 100) == 1
    assert shown(spine, run) == {"a": None}


def _as(spine: Spine, run: UUID) -> Any:
    return spine.message(run, "a")
