"""The patience of a worker: it waits for a database that is away, asks seldom one that is there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from app.domain.errors import Unavailable
from app.services.ports import Executor

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a worker holds on to a step while PostgreSQL is away."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
CANCEL_LOOK_S = 1.0


def patiently(executor: Executor, call: Callable[[], T]) -> T:
    """Call until the database answers; raises Unavailable after `PATIENCE_S` seconds without an answer.

    A signal that strikes here came too late to stop the operation: the statement is repeated, since only its
    answer may be lost. Claim and finish tell their own repetition by the lease and by the count of tries.
    """
    pause = FIRST_PAUSE_S
    deadline = executor.clock() + PATIENCE_S
    while True:
        try:
            return call()
        except executor.interruption:
            continue
        except Unavailable:
            if executor.clock() + pause > deadline:
                raise
            executor.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)


def throttled(look: Callable[[], bool], clock: Callable[[], float]) -> Callable[[], bool]:
    """Return `look` asked at most once in `CANCEL_LOOK_S` seconds; once true it stays true."""
    asked, answer = clock(), False

    def cancelled() -> bool:
        nonlocal asked, answer
        if not answer and clock() - asked >= CANCEL_LOOK_S:
            asked = clock()
            try:
                answer = look()
            except Unavailable:
                log.info("cancellation_unknown")  # a database that is away must not fail the operation
        return answer

    return cancelled
