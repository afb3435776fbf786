"""What a worker makes of its order when it is about to end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.hands import Wanted
from tasks import orders
from tasks.orders import Obedience


class NoPool:
    """A pool as it is behind the shutdown of its worker."""

    num_processes = 2

    @property
    def info(self) -> dict[str, Any]:
        raise AttributeError("its processes are gone")


def test_an_order_that_comes_to_the_loop_behind_the_shutdown_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    told = SimpleNamespace(consuming_from=lambda _queue: True)
    consumer = SimpleNamespace(task_consumer=told, call_soon=lambda *call: asked.append(call))
    Obedience(SimpleNamespace(consumer=consumer, pool=NoPool()), ["default"]).heed(Wanted("active", None))
    monkeypatch.setattr(orders, "CLOSING", True)
    (step, *given), *_ = asked
    step(*given)
