"""What the fault of an operation leaves in its step's row: a step that failed is always settled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from app.domain.documents import dump, printable
from app.domain.errors import OperationFailed, QuantumError

LONGEST_MESSAGE: Final = 4_000
"""Characters of the message of an error."""
LARGEST_DETAIL: Final = 64 * 1024
"""Characters of the detail of an error, as JSON."""
LONGEST_PAUSE_S: Final = 7 * 86_400.0
"""How long an operation may ask its step to wait."""


def message_of(fault: Exception) -> str:
    """Return what the fault says for people, with its kind when it is none of ours."""
    try:
        told = str(fault)
    except Exception:  # the class of a stranger
        told = "it cannot tell what it is"
    known = isinstance(fault, QuantumError)
    return (told if known else f"{type(fault).__name__}: {told}")[:LONGEST_MESSAGE]


def detail_of(fault: Exception) -> dict[str, Any]:
    """Return the detail of the fault as the database can keep it; in place of another why it is lost."""
    detail = _detail(fault)
    try:
        kept: dict[str, Any] = printable(dict(detail))
        size = len(dump(kept))
    except (TypeError, ValueError, RecursionError) as wrong:
        return {"lost": f"the detail is no JSON object: {type(wrong).__name__}"}
    return kept if size <= LARGEST_DETAIL else {"lost": f"the detail has {size} characters"}


def pause_of(fault: Exception) -> float:
    """Return how many seconds the fault asks its step to wait at least."""
    try:
        seconds = float(_detail(fault).get("retry_after_s") or 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_PAUSE_S)


def _detail(fault: Exception) -> Mapping[str, Any]:
    detail: Any = fault.detail if isinstance(fault, OperationFailed) else None
    if detail is None:
        return {}
    return detail if isinstance(detail, Mapping) else {"detail": detail}
