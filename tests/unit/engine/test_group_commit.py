"""Requests that wait at the same moment share a statement; what goes wrong with one is its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from app.db.idempotency import Stored
from app.db.intake import Acceptance, Kept, Request
from app.domain.errors import Unavailable
from app.services import group_commit
from app.services.group_commit import MOST_ITEMS, MOST_REQUESTS, GroupCommit
from tests.support.waiting import eventually

TENANT, OTHER = UUID(int=1), UUID(int=2)
Groups = list[list[str]]


def request(name: str, key: str | None = None, items: int = 1, **members: Any) -> Request:
    answer = Stored("hash", 202, {}, name)
    kept = None if key is None else Kept("user", "POST /intents", key, answer)
    return Request({"name": name}, [members] * items, kept)


class Desk:
    """A database that keeps its first group until `gate` opens, tells which groups came."""

    def __init__(self, fault: Callable[[list[str]], None] = lambda names: None) -> None:
        self.groups: Groups = []
        self.gate = threading.Event()
        self._fault = fault
        self.commit = GroupCommit(self._perform)
        self._pool = ThreadPoolExecutor(MOST_REQUESTS + 8)

    def _perform(self, tenant: UUID, requests: Sequence[Request]) -> list[Acceptance]:
        names = [str(each.actor["name"]) for each in requests]
        self.groups.append(names)
        if len(self.groups) == 1:
            assert self.gate.wait(20)
        self._fault(names)
        return [Acceptance(name) for name in names]

    def send(self, *requests: Request, tenant: UUID = TENANT) -> list[Future[Acceptance]]:
        return [self._pool.submit(self.commit.accept, tenant, each) for each in requests]

    def first(self) -> Future[Acceptance]:
        """Send one, return when its group is under way."""
        [sent] = self.send(request("first"))
        eventually(lambda: bool(self.groups), within=10)
        return sent

    def waiting(self, number: int) -> None:
        """Return when so many wait."""
        eventually(lambda: len(self._line()) == number, within=10)

    def _line(self) -> list[Any]:
        line = self.commit._lines.get(TENANT)
        return [] if line is None else line.waiting


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_S", 30.0)


def outcomes(sent: Sequence[Future[Acceptance]]) -> list[str]:
    return [each.result(20).verdict for each in sent]


def test_one_alone_goes_at_once() -> None:
    desk = Desk()
    desk.gate.set()
    assert outcomes(desk.send(request("a"))) == ["a"]
    assert desk.groups == [["a"]]
    assert not desk.commit._lines


def test_those_that_wait_go_together_each_with_its_own_outcome() -> None:
    desk = Desk()
    first = desk.first()
    others = desk.send(*(request(f"n{n}") for n in range(9)))
    desk.waiting(9)
    desk.gate.set()
    assert outcomes([first, *others]) == ["first", *(f"n{n}" for n in range(9))]
    assert sorted(desk.groups[1]) == [f"n{n}" for n in range(9)]
    assert len(desk.groups) == 2
    assert not desk.commit._lines


def test_a_poisoned_request_fails_alone() -> None:
    def fault(names: list[str]) -> None:
        if "bad" in names:
            raise ValueError("poison")

    desk = Desk(fault)
    first = desk.first()
    others = desk.send(request("a"), request("bad"), request("b"))
    desk.waiting(3)
    desk.gate.set()
    assert outcomes([first, others[0], others[2]]) == ["first", "a", "b"]
    with pytest.raises(ValueError, match="poison"):
        others[1].result(20)
    assert sorted(map(sorted, desk.groups[1:])) == [["a"], ["a", "b", "bad"], ["b"], ["bad"]]


def test_nobody_is_performed_again_when_the_outcome_is_unknown() -> None:
    def fault(names: list[str]) -> None:
        if "first" not in names:
            raise Unavailable("database", "gone")

    desk = Desk(fault)
    first = desk.first()
    others = desk.send(request("a"), request("b"))
    desk.waiting(2)
    desk.gate.set()
    assert outcomes([first]) == ["first"]
    for each in others:
        with pytest.raises(Unavailable, match="gone"):
            each.result(20)
    assert len(desk.groups) == 2


def test_two_of_one_key_never_share_a_group() -> None:
    desk = Desk()
    first = desk.first()
    others = desk.send(
        request("a", "k"), request("b", "k"), request("c", "other"), request("d"), request("e")
    )
    desk.waiting(5)
    desk.gate.set()
    assert outcomes([first, *others]) == ["first", "a", "b", "c", "d", "e"]
    assert [len({"a", "b"} & set(group)) for group in desk.groups[1:]] == [1, 1]


def test_no_group_is_larger_than_the_most() -> None:
    desk = Desk()
    first = desk.first()
    others = desk.send(*(request(f"{n}") for n in range(MOST_REQUESTS + 3)))
    desk.waiting(MOST_REQUESTS + 3)
    desk.gate.set()
    assert len(outcomes([first, *others])) == MOST_REQUESTS + 4
    assert [len(group) for group in desk.groups] == [1, MOST_REQUESTS, 3]


@pytest.mark.parametrize(
    "other",
    [request("other", items=MOST_ITEMS + 1), request("other", concurrency={"key": "k", "limit": 1})],
    ids=["large", "waits for a key"],
)
def test_who_would_hold_others_up_goes_alone(other: Request) -> None:
    desk = Desk()
    first = desk.first()
    assert outcomes(desk.send(other)) == ["other"]
    desk.gate.set()
    assert outcomes([first]) == ["first"]


def test_tenants_do_not_wait_for_one_another() -> None:
    desk = Desk()
    first = desk.first()
    assert outcomes(desk.send(request("theirs"), tenant=OTHER)) == ["theirs"]
    desk.gate.set()
    assert outcomes([first]) == ["first"]


def test_a_group_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_S", 0.05)
    desk = Desk()
    first = desk.first()
    assert outcomes(desk.send(*(request(f"{n}") for n in range(5)))) == [f"{n}" for n in range(5)]
    assert not first.done()
    desk.gate.set()
    assert outcomes([first]) == ["first"]
    assert not desk.commit._lines


def test_a_leader_that_is_given_up_leaves_nobody_waiting() -> None:
    def fault(names: list[str]) -> None:
        if "first" not in names:
            raise SystemExit(1)

    desk = Desk(fault)
    first = desk.first()
    others = desk.send(request("a"), request("b"))
    desk.waiting(2)
    desk.gate.set()
    assert outcomes([first]) == ["first"]
    raised = [type(each.exception(20)) for each in others]
    assert sorted(raised, key=str) == sorted([SystemExit, Unavailable], key=str)
    assert not desk.commit._lines
