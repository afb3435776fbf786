"""How new a replica is, told from positions in the write-ahead log alone."""

from __future__ import annotations

import math
import re
from collections import deque
from typing import Final

LATEST: Final = 1 << 64
"""Behind every position: who asks for it wants what is so now."""

_POSITION: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_position(text: str) -> int:
    """Return a position of the log (`16/B374D848`) as a number; raises ValueError."""
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError("not a position of the write-ahead log")
    return (int(found[1], 16) << 32) | int(found[2], 16)


class Freshness:
    """How old the rows of a replica are, by what the primary had when.

    The log's own time stamps say nothing while the primary is idle, and would compare two clocks. So the
    primary's position is noted with our time before it was asked: a replica that has replayed so far has all
    that was committed until then.
    """

    def __init__(self, max_lag_s: float) -> None:
        self._max_lag_s = max_lag_s
        self._noted: deque[tuple[float, int]] = deque()
        self._as_of = -math.inf
        self._strayed: int | None = None

    @property
    def strayed(self) -> bool:
        """Whether the replica has what the primary never had: it follows another history."""
        return self._strayed is not None

    def note(self, at: float, primary: int, replica: int) -> None:
        """Note where the primary was at `at` seconds or later, where the replica was before that."""
        if replica > primary:
            self._strayed = replica
        elif replica != self._strayed:
            self._strayed = None
        if self.strayed:
            # It stands still from now on: time alone would bring the primary past it.
            self._noted.clear()
            self._as_of = -math.inf
            return
        self._noted.append((at, primary))
        while self._noted and self._noted[0][1] <= replica:
            self._as_of = self._noted.popleft()[0]
        # A position older than the bound would only show that the replica lags.
        while self._noted and at - self._noted[0][0] > self._max_lag_s:
            self._noted.popleft()

    def lag(self, now: float) -> float:
        """Return how many seconds of commits the replica may lack; infinite while that is not known."""
        return now - self._as_of
