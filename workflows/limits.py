"""The time limits of a run, as a definition or a submission writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.errors import Fault, InvalidInput
from workflows.specs import pointer
from workflows.waits import duration_of

LIMITS: Mapping[str, str] = {"deadline": "deadline_s", "queue_timeout": "queue_timeout_s"}
"""What people write, and what a run's row keeps in seconds."""


def read_limits(document: Mapping[str, Any], at: str = "") -> dict[str, float]:
    """Return the limits that `document` names, in seconds, each an ISO 8601 duration or a number.

    Raises InvalidInput with the pointer below `at` of each that is no duration, or nothing.
    """
    found, faults = {}, []
    for name, column in LIMITS.items():
        if document.get(name) is None:
            continue
        try:
            found[column] = duration_of(document[name])
        except ValueError as wrong:
            faults.append(Fault(pointer(at, name), "bad_time", str(wrong)))
            continue
        if found[column] <= 0:
            faults.append(Fault(pointer(at, name), "bad_time", "a limit is longer than nothing"))
    if faults:
        raise InvalidInput(tuple(faults))
    return found
