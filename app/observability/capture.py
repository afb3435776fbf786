"""The log lines of one thread, handed to whoever listens there besides the process's own log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[logging.LogRecord], None]

OWN = ("app", "tasks", "quantum", "celery", "kombu", "billiard", "sqlalchemy", "redis")
"""Loggers of the platform with what carries it: an operation's log tells of the operation."""

_listener: ContextVar[Listener | None] = ContextVar("log_listener", default=None)


class CaptureHandler(logging.Handler):
    """Passes each record on to the listener of the thread that logs it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record over, unless it is the platform's own."""
        listener = _listener.get()
        if listener is not None and record.name.partition(".")[0] not in OWN:
            listener(record)


@contextmanager
def captured(listener: Listener | None) -> Iterator[None]:
    """Hand the records of this thread to the listener within the block; None lets nobody listen."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
