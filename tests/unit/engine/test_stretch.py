"""How far a pool process may follow a chain by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.domain.leases import Lot, StepMessage
from app.services.execute import StepResult
from tasks.base import TOLD, StepRequest
from tasks.stretch import SECONDS_AT_MOST, STEPS_AT_MOST, Closing, Stretch, plain_step
from workflows.canvas import message_of

TENANT, RUN = UUID(int=1), UUID(int=2)
HEAD = StepMessage(TENANT, RUN, "head", 1)


def signature(key: str, **options: Any) -> dict[str, Any]:
    made = message_of((TENANT, RUN), key, 1, None, "default", "testkit.note")
    return {**made, "options": {**made["options"], **options}}


class Events:
    """Notes what Flower is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, kind: str, task_id: str, **_fields: Any) -> None:
        self.told.append((kind.removeprefix("task-"), task_id.split(":")[-2]))


class Walk:
    """A stretch over a chain of so many steps, with a clock to set."""

    def __init__(self, *keys: str, enabled: bool = True, **options: Any) -> None:
        self.now = 100.0
        self.events: Any = Events()
        self.closing = Closing()
        self.request = SimpleNamespace(
            id=f"{RUN}:head:1",
            root_id=f"{RUN}:head:1",
            delivery_info={"routing_key": "default"},
            chain=[signature(key, **options) for key in reversed(keys)],
        )
        self.stretch = Stretch(
            self.request, HEAD, enabled=enabled, closing=self.closing, clock=lambda: self.now
        )

    def next(self) -> str | None:
        found = self.stretch.ahead(True)
        return found.key if isinstance(found, StepMessage) else None

    def go(self, outcome: str = "succeeded") -> None:
        found = self.stretch.ahead(True)
        assert isinstance(found, StepMessage)
        self.stretch.go(self.events, StepResult(True, outcome, following=found))


def test_it_follows_the_chain_and_leaves_what_is_left_to_celery() -> None:
    walk = Walk("a", "b", "c")
    walk.go()
    walk.go()
    assert walk.stretch.task.message.key == "b"
    assert [step["args"][2] for step in walk.request.chain] == ["c"]


def test_every_step_is_told_as_a_task() -> None:
    walk = Walk("a")
    walk.go()
    walk.stretch.tell(walk.events, StepResult(False, "failed", {"code": "boom"}))
    assert walk.events.told == [
        ("succeeded", "head"),
        ("received", "a"),
        ("started", "a"),
        ("failed", "a"),
    ]


def test_it_ends_after_fifty_steps() -> None:
    walk = Walk(*(f"s{n}" for n in range(STEPS_AT_MOST + 10)))
    while walk.next() is not None:
        walk.go()
    assert walk.stretch.length == STEPS_AT_MOST
    assert len(walk.request.chain) == 11


def test_it_ends_after_two_seconds() -> None:
    walk = Walk("a", "b")
    walk.now += SECONDS_AT_MOST - 0.01
    walk.go()
    walk.now += 0.02
    assert walk.next() is None


def test_it_ends_at_a_shutdown_which_the_parent_tells_by_shared_memory() -> None:
    walk = Walk("a")
    assert walk.next() == "a"
    walk.closing.begin()
    assert walk.next() is None


def test_it_can_be_turned_off() -> None:
    assert Walk("a", enabled=False).next() is None


def test_it_ends_where_the_queue_changes() -> None:
    assert Walk("a", queue="other").next() is None


@pytest.mark.parametrize(
    "options",
    [
        {"chord": {"task": "quantum.step"}, "group_id": "g"},
        {"group_id": "g", "group_index": 3},
        {"link": [{"task": "quantum.step"}]},
        {"countdown": 5},
        {"eta": "2030-01-01"},
    ],
)
def test_what_celery_has_more_to_do_for_than_to_send_is_left_to_it(options: dict[str, Any]) -> None:
    assert Walk("a", **options).next() is None


def test_another_run_or_another_task_is_none_of_its_business() -> None:
    assert plain_step(signature("a"), HEAD, "default") is not None
    other = StepMessage(TENANT, UUID(int=9), "head", 1)
    assert plain_step(signature("a"), other, "default") is None
    assert plain_step({**signature("a"), "task": "celery.chord"}, HEAD, "default") is None


def test_the_parent_tells_no_second_end_of_a_task_whose_steps_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[str] = []
    parent = StepRequest.__mro__[1]
    monkeypatch.setattr(parent, "send_event", lambda _self, kind, **_: sent.append(kind))
    request = StepRequest.__new__(StepRequest)
    request.send_event("task-started")
    request.send_event("task-succeeded", result="'ok'")
    request.send_event("task-succeeded", result=repr(TOLD))
    assert sent == ["task-started", "task-succeeded"]


def test_a_step_of_a_newer_protocol_is_left_to_whoever_speaks_it() -> None:
    walk = Walk("next")
    walk.request.chain[-1]["args"] = [str(TENANT), str(RUN), "next", 1, None, 2]
    assert walk.next() is None
    of_a_lot = StepMessage(TENANT, RUN, "head", 1, UUID(int=3))
    stretch = Stretch(walk.request, of_a_lot, enabled=True, closing=walk.closing, clock=lambda: walk.now)
    assert stretch.ahead(True) == Lot(TENANT, RUN, UUID(int=3)), "it goes on with its lot"
