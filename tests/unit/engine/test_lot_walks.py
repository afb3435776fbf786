"""The boundaries of a lot: when its message takes another step along, when a further message has to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from app.db.hot import Claim
from app.domain.leases import Lot, StepMessage
from app.services.execute import StepResult
from tasks.stretch import SECONDS_AT_MOST, STEPS_AT_MOST, Closing, Stretch
from workflows.canvas import message_of

TENANT, RUN, LOT = UUID(int=1), UUID(int=2), UUID(int=3)
IN_LOT = Lot(TENANT, RUN, LOT)
CLAIM = Claim("claimed", 1, 1, 0, "testkit.note", {}, {})


class Told:
    """Notes what Flower is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []

    def tell(self, kind: str, task_id: str, **fields: Any) -> None:
        self.told.append((kind.removeprefix("task-"), task_id.split(":")[-2], fields.get("name")))


def signature(key: str, lot: UUID | None = LOT) -> dict[str, Any]:
    return dict(message_of((TENANT, RUN), key, 1, lot, "default", "testkit.note"))


class Walk:
    """The walk of one message of a lot, with a clock to set."""

    def __init__(self, *chain: dict[str, Any], enabled: bool = True) -> None:
        self.now = 100.0
        self.closing = Closing()
        self.events: Any = Told()
        request = SimpleNamespace(
            id=f"{RUN}:a:1",
            root_id=f"{RUN}:a:1",
            delivery_info={"routing_key": "default"},
            chain=list(reversed(chain)),
        )
        self.stretch = Stretch(
            request,
            StepMessage(TENANT, RUN, "a", 1, LOT),
            enabled=enabled,
            closing=self.closing,
            clock=lambda: self.now,
        )

    def take(self, key: str) -> None:
        assert self.stretch.ahead(True) == IN_LOT
        taken = StepMessage(TENANT, RUN, key, 1, LOT)
        self.stretch.go(self.events, StepResult(True, "succeeded", following=taken, claim=CLAIM))


def test_whatever_became_of_a_step_another_of_its_lot_follows() -> None:
    walk = Walk()
    assert [walk.stretch.ahead(ok) for ok in (True, False)] == [IN_LOT, IN_LOT]
    assert walk.stretch.left is None


def test_what_it_takes_is_told_under_its_own_name() -> None:
    walk = Walk()
    walk.take("b")
    assert walk.stretch.task.message.key == "b"
    assert walk.events.told == [
        ("succeeded", "a", None),
        ("received", "b", "testkit.note"),
        ("started", "b", None),
    ]


def test_a_line_is_followed_to_its_end_before_another_is_begun() -> None:
    walk = Walk(signature("a2"))
    found = walk.stretch.ahead(True)
    assert isinstance(found, StepMessage)
    assert found.key == "a2"
    assert walk.stretch.ahead(False) == IN_LOT, "a line that broke leaves its place to others"


def test_what_joins_the_lot_comes_after_it() -> None:
    assert Walk(signature("join", None)).stretch.ahead(True) == IN_LOT


def test_at_a_boundary_what_is_left_is_for_a_further_message() -> None:
    long, late, off, closing = Walk(), Walk(), Walk(enabled=False), Walk()
    for number in range(STEPS_AT_MOST - 1):
        long.take(f"s{number}")
    late.now += SECONDS_AT_MOST
    closing.closing.begin()
    for walk in (long, late, off, closing):
        assert walk.stretch.ahead(True) is None
        assert walk.stretch.left == IN_LOT


def test_a_line_that_goes_on_by_message_takes_the_lot_along() -> None:
    walk = Walk(signature("a2"))
    walk.now += SECONDS_AT_MOST
    assert walk.stretch.ahead(True) is None
    assert walk.stretch.left is None, "its next message is of the lot"
