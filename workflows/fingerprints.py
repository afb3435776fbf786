"""What makes two calls of an operation identical."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from workflows.templates import SecretRef, SecretText


def input_hash(operation: str, version: str, values: Mapping[str, Any], secrets: Mapping[str, str]) -> str:
    """Return the hash of an operation's call: its name, its module's version, its input.

    A secret counts by its name with what `secrets` says of its version, never by its value. Each value is
    written down with its type, so that no text can pass for a secret's place.
    """
    written = json.dumps([operation, version, _typed(values, secrets)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(written.encode()).hexdigest()


def _typed(value: Any, secrets: Mapping[str, str]) -> Any:
    if isinstance(value, SecretText):
        return ["secret", [_part(part, secrets) for part in value.parts]]
    if isinstance(value, Mapping):
        return ["object", {str(key): _typed(member, secrets) for key, member in value.items()}]
    if isinstance(value, list | tuple):
        return ["list", [_typed(member, secrets) for member in value]]
    return ["value", value]


def _part(part: str | SecretRef, secrets: Mapping[str, str]) -> list[str]:
    return ["name", part.name, secrets.get(part.name, "")] if isinstance(part, SecretRef) else ["text", part]
