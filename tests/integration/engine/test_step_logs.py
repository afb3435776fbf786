"""The log of a step that runs: readable meanwhile, without secrets, kept when the attempt ends badly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.manage_secrets import put_secret
from app.services.read_step_log import read_step_log
from tests.support.hands import Hands
from tests.support.rig import Rig, note
from tests.support.waiting import eventually

CANARY = 'canary-"7f3e\\ü'


def log(rig: Rig, run: UUID) -> dict[str, Any]:
    return read_step_log(rig.base.engine.database, rig.actor, run, "a", None, 200)


def test_lines_are_read_while_the_step_runs_secrets_masked(rig: Rig) -> None:
    box = SecretBox(KeyRing(rig.settings.secrets_keys))
    put_secret(box, rig.base.engine.database, rig.actor, "TOKEN", CANARY, None)
    given = {"lines": 3, "word": "${secrets.TOKEN}", "gate": "gate"}
    run = rig.submit([{"id": "a", "uses": "testkit.chatter", "with": given}])
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        stack.callback(rig.open_gate, "gate")
        ends = pool.submit(Hands(rig).perform, run, "a")
        eventually(lambda: log(rig, run)["items"], within=5.0, what="lines of a running step")
        found = log(rig, run)
        assert found["state"] == "running"
        assert [line["text"] for line in found["items"]] == ["line"] * 3 + ["says ***"]
        rig.open_gate("gate")
        assert ends.result(timeout=10).ok
    found = log(rig, run)
    assert found["state"] == "succeeded"
    assert (found["items"][-1]["level"], found["items"][-1]["text"]) == ("error", "last_words")
    assert {line["fields"]["word"] for line in found["items"] if "fields" in line} == {"***"}
    stored = rig.rows("SELECT string_agg(lines::text, '') AS t FROM step_logs WHERE run_id = %s", run)
    assert "canary" not in stored[0]["t"]


def test_an_operation_that_logs_nothing_leaves_no_row_no_thread(rig: Rig) -> None:
    run = rig.submit([note("a")])
    hands = Hands(rig)
    assert hands.perform(run, "a").ok
    assert log(rig, run) == {"items": [], "next_cursor": "0.0", "state": "succeeded"}
    assert not hands.executor.courier.busy
