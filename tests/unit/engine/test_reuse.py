"""Which steps may use a result again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.domain.leases import StepMessage
from app.services.flags import Defaults
from app.services.reuse import reuse_of
from tests.support.testkit import module
from workflows.decisions import StepInput

OPERATIONS = {spec.name: spec for spec in module.operations}
GIVEN = StepInput({"n": 1}, frozenset(), {"n": 1})
NO_DATABASE: Any = None


@pytest.mark.parametrize(
    ("operation", "key", "round", "definition", "may"),
    [
        ("compute", "a", 0, {}, True),
        ("compute", "a.3", 0, {"cache": True}, True),
        ("note", "a", 0, {}, False),
        ("compute", "a", 1, {}, False),
        ("compute", "a", 0, {"cache": False}, False),
        ("compute", "undo-a", 0, {}, False),
    ],
)
def test_a_step_may_use_a_result_again(
    operation: str, key: str, round: int, definition: dict[str, Any], may: bool
) -> None:
    message = StepMessage(UUID(int=1), UUID(int=2), key, 1)
    claim = SimpleNamespace(tries=1, round=round, definition=definition)
    found = reuse_of(NO_DATABASE, Defaults(), message, claim, OPERATIONS[f"testkit.{operation}"], GIVEN)
    assert (found is not None) == may
