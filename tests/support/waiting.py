"""Waiting for a condition, the only way that tests let time pass."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

EASY_LOAD = 2.0
"""So many processes that want to run at once, for each core, are no reason to be slow."""
MOST_PATIENCE = 4.0


def patience() -> float:
    """Return the factor for a bound in seconds: 1 on a machine that has time, more where many share it."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(load / EASY_LOAD, 1.0), MOST_PATIENCE)


def eventually(
    predicate: Callable[[], T | None], *, within: float = 10.0, every: float = 0.05, what: str = ""
) -> T:
    """Return the first truthy value of `predicate()`; raise AssertionError after `within` seconds.

    The bound grows with the load of the machine.
    """
    pause = threading.Event()
    within *= patience()
    until = time.monotonic() + within
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not so within {within:g} s: {what or predicate!r}; last seen: {value!r}")
        pause.wait(every)


def holds(predicate: Callable[[], object], *, during: float, every: float = 0.05, what: str = "") -> None:
    """Check that `predicate()` stays truthy for `during` seconds."""
    pause = threading.Event()
    until = time.monotonic() + during
    while time.monotonic() < until:
        value = predicate()
        if not value:
            raise AssertionError(f"ceased to hold: {what or predicate!r}; seen: {value!r}")
        pause.wait(every)
