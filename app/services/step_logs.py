"""The log lines of one attempt, gathered beside the operation, written about once a second."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.domain.documents import printable
from app.domain.errors import QuantumError
from app.domain.modules import StepLog
from app.domain.step_logs import BoundedLog, LogLine, shortened
from app.observability.capture import captured
from app.observability.context import bound_names
from app.observability.masking import mask_fields, mask_values
from app.services.courier import Courier

log = logging.getLogger(__name__)

MOST_TRIES = 60
"""How often the lines of one second are tried while the database is away."""
LONGEST_RAW = 64 * 1024
"""Characters of a line that are looked at: what comes after them is cut before it is masked."""

Write = Callable[[int, list[dict[str, Any]]], object]


class LogBuffer:
    """Takes the lines of an attempt; one that logs nothing costs no statement, none waits for the database.

    `write` gets the number of the last line with the lines; batches are written one after the other, so a
    reader who keeps the last number misses none.
    """

    def __init__(self, courier: Courier, write: Write, secrets: Collection[str]) -> None:
        self._courier = courier
        self._write = write
        self._secrets = secrets
        self._lines = BoundedLog()
        self._adding = threading.Lock()
        self._writing = threading.Lock()
        self._batch: list[LogLine] = []
        self._failures = 0
        self._posted = False

    def add(
        self,
        level: str,
        text: str,
        logger: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take one line."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._adding:
            new = self._lines.add(at, level, text[:LONGEST_RAW], logger, _as_json(fields))
        if new and not self._posted:
            self._post()

    def record(self, record: logging.LogRecord) -> None:
        """Take a line of the standard logging, or of a structured logger that writes through it."""
        level = record.levelname.lower()
        if isinstance(record.msg, dict):
            hidden = _OF_THE_PLATFORM | bound_names()
            event = {key: value for key, value in record.msg.items() if key not in hidden}
            self.add(level, str(event.pop("event", "")), record.name, event)
            return
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)  # its arguments do not fit its format: the words are better than nothing
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self.add(level, text, record.name)

    def close(self) -> None:
        """Write what is left, before the attempt's outcome is; what cannot be written now comes later."""
        with self._adding:
            self._lines.end()
        try:
            self._bring()
        except BaseException:
            self._post()
            raise

    def _post(self) -> None:
        self._posted = True
        self._courier.post(self._bring)

    def _bring(self) -> None:
        # Before the look at the lines: one that comes now is posted anew.
        self._posted = False
        with self._writing:
            if not self._batch:
                with self._adding:
                    self._batch = self._lines.take()
            if not self._batch:
                return
            try:
                self._write(self._batch[-1].n, shown_lines(self._batch, self._secrets))
            except QuantumError as fault:
                self._failures += 1
                if self._failures < MOST_TRIES:
                    self._post()
                    return
                log.warning("step_log_lost", extra={"lines": len(self._batch), "reason": str(fault)})
            self._batch, self._failures = [], 0


class AttemptLog:
    """The log of an operation: each line goes to its attempt, at any level, then to the process's log."""

    def __init__(self, process: StepLog, buffer: LogBuffer) -> None:
        self._process = process
        self._buffer = buffer

    def info(self, event: str, **fields: Any) -> None:
        """Record a fact."""
        self._tell("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Record something an operator may want to see."""
        self._tell("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Record a fault."""
        self._tell("error", event, fields)

    def _tell(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self._buffer.add(level, str(event), None, fields)
        with captured(None):
            getattr(self._process, level)(event, **fields)


def shown_lines(lines: Sequence[LogLine], secrets: Collection[str]) -> list[dict[str, Any]]:
    """Return the lines as they are stored: masked, then cut, as half a secret would not be found."""
    words = [[line.text, line.fields] for line in lines]
    masked = printable(mask_values(mask_fields(words), secrets))
    return [
        replace(line, text=shortened(text), fields=_short(fields)).as_json()
        for line, (text, fields) in zip(lines, masked, strict=True)
    ]


def _short(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    whole = json.dumps(fields, ensure_ascii=False)
    return fields if shortened(whole) == whole else {"cut": shortened(whole)}


_OF_THE_PLATFORM = frozenset({"level", "logger", "timestamp", "process_name"})
"""What each line of a structured logger carries besides its own fields."""


def _as_json(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the fields as they are now, as plain JSON."""
    if not fields:
        return None
    try:
        text = json.dumps(dict(fields), default=str)
    except (TypeError, ValueError, RecursionError):
        return {"unreadable": "the fields are no JSON"}
    found: dict[str, Any] = json.loads(text) if len(text) <= LONGEST_RAW else {"cut": text[:LONGEST_RAW]}
    return found
