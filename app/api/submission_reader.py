"""The reading of submissions: at a glance where nothing is unusual, by their schema otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from marshmallow import ValidationError

from app.api.schemas.common import DOTTED, INT32, LONGEST_TEXT
from app.api.schemas.intents import LABEL_KEY, LARGEST_BATCH, MOST_LABELS, PRIORITIES, SubmissionSchema
from app.api.validation import faults_of
from app.domain.errors import InvalidInput
from app.services.submit import NOTHING, Submission
from workflows.limits import LIMITS

_SCHEMA: Final = SubmissionSchema()
_USUAL: Final = frozenset(_SCHEMA.load_fields) - LIMITS.keys()
_LEAST: Final = frozenset({"type", "spec"})
_TYPE: Final = re.compile(DOTTED)
_LABEL: Final = re.compile(LABEL_KEY)
_LONGEST_TYPE: Final = 255


def read_submission(item: Any) -> Submission:
    """Return what a JSON object submits; raises InvalidInput with the pointer of each fault.

    The schema alone decides what is right: what it would take without a change is seen here at a tenth of its
    cost, and all else is left to it.
    """
    if at_a_glance(item):
        return submission_of(item)
    try:
        return submission_of(_SCHEMA.load(item))
    except ValidationError as wrong:
        raise InvalidInput(tuple(faults_of(wrong.normalized_messages()))) from wrong


def submission_of(body: Mapping[str, Any]) -> Submission:
    """Return the submission that checked members make."""
    if len(body) == len(_LEAST):
        return Submission(body["type"], body["spec"])
    return Submission(
        type=body["type"],
        spec=body["spec"],
        type_version=body.get("type_version"),
        name=body.get("name"),
        labels=body.get("labels") or NOTHING,
        priority=body.get("priority", 0),
        limits={name: body[name] for name in LIMITS if name in body} or NOTHING,
    )


def at_a_glance(item: Any) -> bool:
    """Tell whether the schema certainly takes the item as it is; False decides nothing."""
    if not isinstance(item, dict) or not item.keys() <= _USUAL or not isinstance(item.get("spec"), dict):
        return False
    kind = item.get("type")
    if not isinstance(kind, str) or len(kind) > _LONGEST_TYPE or not _dotted(kind):
        return False
    return len(item) == len(_LEAST) or (
        ("type_version" not in item or _whole(item["type_version"], 1, INT32))
        and ("priority" not in item or _whole(item["priority"], *PRIORITIES))
        and ("name" not in item or _short(item["name"], 1, LONGEST_TEXT))
        and ("labels" not in item or _labels(item["labels"]))
    )


def batch_at_a_glance(body: Any) -> bool:
    """Tell whether the schema of batches certainly takes the body as it is; False decides nothing."""
    if not isinstance(body, dict) or not body.keys() <= {"items", "atomic"}:
        return False
    items = body.get("items")
    return (
        isinstance(items, list)
        and len(items) <= LARGEST_BATCH
        and set(map(type, items)) == {dict}
        and isinstance(body.get("atomic", False), bool)
    )


@lru_cache(maxsize=1024)
def _dotted(kind: str) -> bool:
    return _TYPE.fullmatch(kind) is not None


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _short(value: Any, shortest: int, longest: int) -> bool:
    return isinstance(value, str) and shortest <= len(value) <= longest


def _labels(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MOST_LABELS
        and all(_LABEL.fullmatch(key) and _short(text, 0, 255) for key, text in value.items())
    )
