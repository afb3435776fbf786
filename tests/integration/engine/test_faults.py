"""Whatever an operation raises settles its step at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import Deferred, OperationFailed
from app.domain.modules import OperationSpec
from app.services.faults import (
    LARGEST_DETAIL,
    LONGEST_MESSAGE,
    LONGEST_PAUSE_S,
    detail_of,
    message_of,
    pause_of,
)
from tests.support.hands import Hands
from tests.support.rig import Rig


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Raising:
    """A registry whose every operation raises one fault."""

    def __init__(self, registry: Any, fault: Exception) -> None:
        self._registry, self._fault = registry, fault

    def operation(self, name: str) -> OperationSpec:
        def function(*_: Any, **__: Any) -> None:
            raise self._fault

        return replace(self._registry.operation(name), function=function)


FAULTS = {
    "a detail that is no JSON": OperationFailed("odd", "no", detail={"at": datetime(2026, 1, 1, tzinfo=UTC)}),
    "a detail that is no object": OperationFailed("odd", "no", detail=["a", "b"]),  # type: ignore[arg-type]  # a stranger's
    "a pause that is none": OperationFailed("odd", "no", detail={"retry_after_s": "soon"}),
    "a pause without end": OperationFailed("odd", "no", detail={"retry_after_s": float("inf")}),
    "a pause beyond the calendar": OperationFailed("odd", "no", detail={"retry_after_s": 1e15}),
    "a deferral without end": Deferred("odd", "no", float("inf")),
    "a fault that cannot tell what it is": Mute(),
    "a book": ValueError("x" * 1_000_000),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_whatever_an_operation_raises_settles_its_step(rig: Rig, hands: Hands, fault: Exception) -> None:
    registry = Raising(hands.executor.registry, fault)
    odd = Hands(rig, replace(hands.executor, registry=registry))  # type: ignore[arg-type]  # stands in
    run: UUID = rig.submit([{"id": "a", "uses": "testkit.note", "retry": {"attempts": 2}}])
    assert odd.perform(run, "a").outcome == "retry"
    step = rig.step(run, "a")
    assert step["state"] == "waiting"
    assert step["error"]["code"] in ("odd", "operation_raised")
    assert len(str(step["error"])) < 2 * LONGEST_MESSAGE


def test_what_is_kept_of_a_fault_is_bounded() -> None:
    large = OperationFailed("x", "y" * 9_000, detail={"z": "z" * LARGEST_DETAIL})
    assert len(message_of(large)) == LONGEST_MESSAGE
    assert detail_of(large)["lost"].startswith("the detail has")
    assert detail_of(OperationFailed("x", "y", detail={"a": ("b\0", 1)})) == {"a": ["b\ufffd", 1]}
    assert message_of(LookupError("there")) == "LookupError: there"
    asked = [7, "8", -1, float("nan"), None, 1e300]
    given = [pause_of(OperationFailed("x", "y", detail={"retry_after_s": one})) for one in asked]
    assert given == [7.0, 8.0, 0.0, 0.0, 0.0, LONGEST_PAUSE_S]
