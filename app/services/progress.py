"""The progress of one attempt, told by its operation as often as it likes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from app.domain.documents import printable
from app.domain.errors import QuantumError
from app.services.courier import Courier

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 200

Write = Callable[[float | None, str | None], object]
Mask = Callable[[Any], Any]


class Progress:
    """A heartbeat whose reports are gathered: the courier writes the latest, none after the attempt's end."""

    def __init__(self, courier: Courier, write: Write, mask: Mask) -> None:
        self._courier = courier
        self._write = write
        self._mask = mask
        self._fraction: float | None = None
        self._message: str | None = None
        self._posted = False
        self._closed = False

    def __call__(self, progress: float | None = None, message: str | None = None) -> None:
        """Keep the report for the courier; a number out of range is cut, one that is none is left out."""
        if progress is not None:
            self._fraction = _fraction(progress, self._fraction)
        if message is not None:
            self._message = str(message)
        if not self._posted:
            self._posted = True
            self._courier.post(self._bring)

    def close(self) -> None:
        """Write nothing more: how the attempt ended says more than how far it was."""
        self._closed = True

    def _bring(self) -> None:
        # Before the look at the values: a report that comes now is posted anew.
        self._posted = False
        if self._closed:
            return
        message = self._message
        if message is not None:
            # Masked before it is cut: half a secret would not be found.
            message = str(printable(self._mask(message)))[:LONGEST_MESSAGE]
        try:
            self._write(self._fraction, message)
        except QuantumError as fault:
            log.info("progress_not_written", extra={"reason": str(fault)})


def _fraction(progress: float, before: float | None) -> float | None:
    try:
        number = float(progress)
    except (TypeError, ValueError):
        return before
    return before if math.isnan(number) else min(max(number, 0.0), 1.0)
