"""A step's end whose answer was lost with the connection."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.db import hot
from app.domain.errors import Unavailable
from app.services import execute
from tests.support.spine import LEASE, Spine


class Interruption(BaseException):
    """Never raised here."""


def test_the_canvas_goes_on_when_only_the_answer_of_finish_was_lost(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    finish, verdicts, advanced = hot.finish_step, [], []

    def forgetful(*args: Any, **values: Any) -> hot.Finish:
        answer = finish(*args, **values)
        verdicts.append(answer.verdict)
        if len(verdicts) == 1:
            raise Unavailable("database")
        return answer

    def advance(_engine: object, _tenant: UUID, run_id: UUID) -> None:
        advanced.append(run_id)

    monkeypatch.setattr(hot, "finish_step", forgetful)
    monkeypatch.setattr(execute, "_perform", lambda *_: execute.Outcome("succeeded", output=1))
    monkeypatch.setattr(execute, "advance", advance)
    executor: Any = SimpleNamespace(
        engine=SimpleNamespace(database=spine.app),
        interruption=Interruption,
        clock=time.monotonic,
        wait=lambda _: None,
    )
    result = execute.execute_step(executor, spine.message(run, "a"), LEASE)
    assert verdicts == ["finished", "lost"]
    assert (result.ok, result.outcome) == (True, "done")
    assert advanced == [run]
    assert spine.step(run, "a")["tries"] == 1
