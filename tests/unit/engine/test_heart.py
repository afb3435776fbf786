"""The heart of a worker beats on, whatever becomes of one of its children."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import IllegalState, Unavailable
from app.domain.leases import Lease
from tasks import heartbeat
from tasks.heartbeat import Heart
from tests.support.waiting import eventually


@pytest.mark.parametrize("fault", [IllegalState("illegal transition"), LookupError("a fault of ours")])
def test_a_child_that_cannot_be_released_keeps_neither_the_beat_nor_the_others(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    odd, others = os.getppid(), [os.getpid()]
    released: list[int] = []
    beats: list[int] = []
    away = [Unavailable("database")]

    def release(_nursing: Any, lease: Lease) -> None:
        if away:
            raise away.pop()  # what is asked for while the database is away is done when it is back
        if lease.child.pid == odd:
            raise fault
        released.append(lease.child.pid)

    monkeypatch.setattr(heartbeat, "release_child", release)
    monkeypatch.setattr(heartbeat, "beat", lambda *_: beats.append(1) or [])
    monkeypatch.setattr(heartbeat, "leave", lambda *_: None)
    monkeypatch.setattr(heartbeat, "LOOK_S", 0.02)
    nursing = SimpleNamespace(dispatch=SimpleNamespace(system=None))
    worker = SimpleNamespace(boot=UUID(int=1), name="worker")
    heart = Heart(SimpleNamespace(nursing=nursing, worker=worker), list)  # type: ignore[arg-type]  # the parts it asks for
    for pid in (odd, *others):
        heart.note(pid)
    heart.start()
    try:
        eventually(lambda: beats and released == others, within=5)
    finally:
        heart.leave()
