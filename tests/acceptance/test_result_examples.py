"""The documents' examples of what steps tell, what they leave behind, run by real processes."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from app.services import browse
from app.services.cancel_run import cancel_run
from app.services.read_output import read_output
from app.services.read_step_log import read_step_log
from tests.support.examples import submit_example
from tests.support.rig import Rig
from tests.support.waiting import eventually


def shown(rig: Rig, run: UUID, key: str) -> dict[str, Any]:
    engine = rig.base.engine
    steps = browse.show_run(engine.database, engine.plans, engine.artifacts, rig.actor, run)["steps"]
    return dict(next(step for step in steps if step["key"] == key))


def progress(rig: Rig, run: UUID, key: str) -> float:
    return float((shown(rig, run, key)["progress"] or {}).get("fraction") or 0.0)


def test_progress_is_seen_while_the_step_runs(rig: Rig) -> None:
    run = submit_example(rig, "progress", {"seconds": 3})
    eventually(lambda: progress(rig, run, "bake") > 0, within=15.0, what="the first report")
    seen = shown(rig, run, "bake")
    assert seen["state"] == "running"
    assert seen["progress"]["message"].endswith("s left")
    first = seen["progress"]["fraction"]
    assert 0 < first < 1
    eventually(lambda: progress(rig, run, "bake") > first, within=5.0, what="it grows")
    rig.ends(run)
    assert shown(rig, run, "bake")["progress"] is None


def test_a_cancelled_step_shows_how_far_it_came(rig: Rig) -> None:
    run = submit_example(rig, "progress", {"seconds": 600})
    eventually(lambda: progress(rig, run, "bake") > 0, within=15.0, what="the first report")
    cancel_run(rig.base, rig.actor, run)
    rig.ends(run, "cancelled", within=10.0)
    found = shown(rig, run, "bake")
    assert (found["state"], found["error"]["code"]) == ("cancelled", "cancelled")
    assert 0 < found["progress"]["fraction"] < 0.1


def test_a_step_log_is_read(rig: Rig) -> None:
    (rig.folder / "there.txt").write_text("one line\n")
    run = submit_example(rig, "logs", {"root": str(rig.folder), "paths": ["there.txt", "gone.txt"]})
    rig.ends(run)
    found = read_step_log(rig.base.engine.database, rig.actor, run, "read", None, 100)
    (line,) = found["items"]
    assert (line["level"], line["text"], line["fields"]["path"]) == ("warning", "file_unreadable", "gone.txt")
    assert found["state"] == "succeeded"


def test_a_large_output_is_used_and_downloaded(rig: Rig) -> None:
    run = submit_example(rig, "artifacts", {"text": "x" * 200})
    rig.ends(run)
    assert "$artifact" in rig.step(run, "big")["output"]
    assert rig.step(run, "count")["output"]["message"] == "2000 times 200 characters"
    found = read_output(rig.base.engine.database, rig.base.engine.artifacts, rig.actor, run, "big")
    content = json.loads(b"".join(found.pieces()))
    assert content == {"message": ["x" * 200] * 2000}


def test_a_result_is_used_again(rig: Rig) -> None:
    (rig.folder / "once.txt").write_text("one line\n")
    spec = {"root": str(rig.folder), "paths": ["once.txt"]}
    first, second = submit_example(rig, "reuse", spec), submit_example(rig, "reuse", spec)
    rig.ends(first)
    rig.ends(second)
    third = submit_example(rig, "reuse", spec)
    rig.ends(third)
    found = shown(rig, third, "total")
    assert UUID(found["reused_from"]["run"]) in (first, second)
    assert found["reused_from"]["step"] == "total"
    assert rig.step(third, "total")["output"] == rig.step(first, "total")["output"]
    assert shown(rig, third, "always")["reused_from"] is None
