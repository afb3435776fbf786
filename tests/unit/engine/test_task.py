"""What Celery is told of a step's outcome."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore

from app.services.execute import StepResult
from tasks.base import OK, StepFailed, told_celery


@pytest.mark.parametrize("outcome", ["succeeded", "skipped", "done"])
def test_one_constant_for_every_good_end(outcome: str) -> None:
    assert told_celery(StepResult(True, outcome)) == OK


@pytest.mark.parametrize("outcome", ["lost", "retry", "cancelled", "killed"])
def test_all_else_ends_the_canvas_quietly(outcome: str) -> None:
    with pytest.raises(Ignore):
        told_celery(StepResult(False, outcome))


def test_a_failure_shows() -> None:
    with pytest.raises(StepFailed, match="boom: it broke"):
        told_celery(StepResult(False, "failed", {"code": "boom", "message": "it broke"}))
