"""The log of one attempt: which lines are kept, where lines were left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_LINES = 2_000
MOST_CHARACTERS = 256 * 1024
LONGEST_LINE = 4_096
TAIL_LINES = 100
TAIL_CHARACTERS = 64 * 1024
CUT = "… (cut)"
LEFT_OUT = (
    f"… lines are left out here: an attempt keeps its first {MOST_LINES} lines, {MOST_CHARACTERS // 1024} KiB"
    f" at most, with its last {TAIL_LINES} when it ends"
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: `n` counts all lines of its attempt from 1, `at` is ISO 8601, `fields` are JSON."""

    n: int
    at: str
    level: str
    text: str
    logger: str | None = None
    fields: Mapping[str, Any] | None = None
    truncated: bool = False

    @property
    def size(self) -> int:
        """About how many characters the line takes."""
        return len(self.text) + (len(str(self.fields)) if self.fields else 0)

    def as_json(self) -> dict[str, Any]:
        """Return the line as it is stored, without what it has not."""
        found: dict[str, Any] = {"n": self.n, "at": self.at, "level": self.level, "text": self.text}
        if self.logger is not None:
            found["logger"] = self.logger
        if self.fields:
            found["fields"] = dict(self.fields)
        return {**found, "truncated": True} if self.truncated else found


class BoundedLog:
    """Takes the lines of one attempt: the first go through, then one mark, the last wait for the end."""

    def __init__(self) -> None:
        self._count = 0
        self._size = 0
        self._full = False
        self._ready: list[LogLine] = []
        self._tail: deque[LogLine] = deque(maxlen=TAIL_LINES)
        self._tail_size = 0

    def add(
        self,
        at: str,
        level: str,
        text: str,
        logger: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> bool:
        """Take a line; tell whether there is something new to write."""
        self._count += 1
        line = LogLine(self._count, at, level, text, logger, fields)
        if not self._full and self._count <= MOST_LINES and self._size + line.size <= MOST_CHARACTERS:
            self._size += line.size
            self._ready.append(line)
            return True
        first, self._full = not self._full, True
        if first:
            self._ready.append(LogLine(self._count, at, "warning", LEFT_OUT, truncated=True))
            return True
        self._keep(line)
        return False

    def take(self) -> list[LogLine]:
        """Return the lines that are to be written, each once."""
        ready, self._ready = self._ready, []
        return ready

    def end(self) -> None:
        """Let the last lines go too."""
        self._ready += self._tail
        self._tail.clear()

    def _keep(self, line: LogLine) -> None:
        if len(self._tail) == TAIL_LINES:
            self._tail_size -= self._tail.popleft().size
        self._tail.append(line)
        self._tail_size += line.size
        while self._tail_size > TAIL_CHARACTERS and len(self._tail) > 1:
            self._tail_size -= self._tail.popleft().size


def shortened(text: str) -> str:
    """Return the text cut to the longest line, with a mark."""
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - len(CUT)] + CUT
