"""A third-party module for tests: operations that write the ledger, wait for gates, die."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from collections import deque
from itertools import repeat
from typing import Any

from app.domain.errors import OperationFailed
from app.domain.modules import Module, OperationContext
from app.services import advance
from tests.support.ledger import Ledger

LEDGER = "ledger.jsonl"
LOOK_EVERY_S = 0.02

module = Module("testkit", "1.0.0", "Operations that leave traces")


def _write(context: OperationContext, event: str) -> None:
    Ledger(context.resources.data_roots[0] / LEDGER).write(
        event, str(context.run_id), context.step, context.idempotency_key, context.attempt
    )


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


@module.operation("note", timeout_s=60)
def note(
    context: OperationContext, *, seconds: float = 0.0, value: Any = None, size: int = 0
) -> dict[str, Any]:
    """Leave a trace before and after working for some seconds; the output is larger by `size` characters."""
    _write(context, "begin")
    if seconds:
        _pause(seconds)
    _write(context, "end")
    filler = {"filler": str(context.run_id).ljust(size, ".")} if size else {}
    return {"value": value, "step": context.step, **filler}


@module.operation("hold", timeout_s=60)
def hold(context: OperationContext, *, gate: str, deaf: bool = False) -> dict[str, Any]:
    """Work until the file of the gate exists; heed a cancellation unless `deaf`."""
    _write(context, "begin")
    while not (context.resources.data_roots[0] / gate).exists():
        if not deaf and context.cancelled():
            raise OperationFailed("cancelled", "cancelled while holding", retryable=False)
        try:
            _pause(LOOK_EVERY_S)
        except Exception:
            if not deaf:
                raise
    _write(context, "end")
    return {"gate": gate}


@module.operation("fail_first", timeout_s=60)
def fail_first(context: OperationContext, *, attempts: int, retryable: bool = True) -> dict[str, Any]:
    """Fail the first attempts, then succeed."""
    _write(context, "begin")
    if context.attempt <= attempts:
        raise OperationFailed("not_yet", f"attempt {context.attempt} fails", retryable=retryable)
    _write(context, "end")
    return {"attempt": context.attempt}


@module.operation("fail_without", timeout_s=60)
def fail_without(context: OperationContext, *, gate: str) -> dict[str, Any]:
    """Fail as long as the file of the gate is missing."""
    _write(context, "begin")
    if not (context.resources.data_roots[0] / gate).exists():
        raise OperationFailed("gate_closed", f"{gate} is closed", retryable=False)
    _write(context, "end")
    return {"gate": gate}


@module.operation("crash", timeout_s=60)
def crash(context: OperationContext, *, words: str) -> None:
    """Raise an exception of no known kind that quotes its input."""
    raise ValueError(words)


@module.operation("chatter", timeout_s=60)
def chatter(
    context: OperationContext, *, lines: int = 1, word: str = "", gate: str | None = None
) -> dict[str, Any]:
    """Log in every way there is, hold at the gate, log once more."""
    for n in range(lines):
        context.log.info("line", n=n, word=word)
    logging.getLogger("thirdparty.client").warning("says %s", word)
    print("printed", word)
    while gate is not None and not (context.resources.data_roots[0] / gate).exists():
        _pause(LOOK_EVERY_S)
    context.log.error("last_words", word=word)
    return {"lines": lines}


@module.operation("bulk", timeout_s=60)
def bulk(context: OperationContext, *, size: int) -> dict[str, Any]:
    """Return so many characters, with a few words beside them."""
    _write(context, "begin")
    return {"text": "x" * size, "parts": [1, 2, 3], "size": size}


@module.operation("leave", timeout_s=60)
def leave(context: OperationContext, *, text: str, kind: str = "text/plain") -> dict[str, Any]:
    """Leave a file behind."""
    return {"report": context.artifacts.put(text.encode(), kind)}


@module.operation("take", timeout_s=60)
def take(context: OperationContext, *, reference: dict[str, Any]) -> dict[str, Any]:
    """Read a file that another step left behind."""
    return {"text": context.artifacts.read(reference).decode()}


@module.operation("compute", timeout_s=60, cacheable_s=600)
def compute(context: OperationContext, *, n: int, text: str = "", size: int = 0) -> dict[str, Any]:
    """Compute something that follows from the input alone, leaving a trace of each call."""
    _write(context, "compute")
    return {"square": n * n, "length": len(text), "filler": "x" * size}


@module.operation("die", timeout_s=60)
def die(context: OperationContext) -> dict[str, Any]:
    """Kill the process that executes it, each time: a poison step."""
    _write(context, "begin")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


@module.operation("die_without", timeout_s=60)
def die_without(context: OperationContext, *, gate: str) -> dict[str, Any]:
    """Kill the process that executes it, as long as the file of the gate is missing."""
    return {"gate": gate} if (context.resources.data_roots[0] / gate).exists() else die(context)


@module.operation("find_disk_full", timeout_s=60)
def find_disk_full(context: OperationContext, *, gate: str) -> dict[str, Any]:
    """Return what becomes an artifact, for which this process's disk has no room before the gate is there."""
    place, sync = context.resources.data_roots[0] / gate, os.fsync

    def full(handle: Any) -> None:
        if not place.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    os.fsync = full  # type: ignore[assignment]  # every file of this process is one that a disk has no room for
    return {"text": "x" * 300_000}


@module.operation("die_when_settled", timeout_s=60)
def die_when_settled(context: OperationContext) -> dict[str, Any]:
    """Succeed, but kill the whole worker when its run has ended, before anybody is told."""
    _write(context, "begin")
    _write(context, "end")

    def die(*_given: Any) -> None:
        os.killpg(os.getpgid(0), signal.SIGKILL)

    advance.tell_parent = die  # type: ignore[assignment, attr-defined]  # killed at just that place
    return {}


@module.operation("sleep_through", timeout_s=1)
def sleep_through(context: OperationContext) -> dict[str, Any]:
    """Ignore the soft time limit."""
    _write(context, "begin")
    while True:
        try:
            _pause(60)
        except Exception:
            continue


@module.operation("keep_lock", timeout_s=1)
def keep_lock(context: OperationContext) -> dict[str, Any]:
    """Never return, never heed a signal, never give the interpreter's lock away."""
    _write(context, "begin")
    deque(repeat(None), maxlen=0)
    return {}
