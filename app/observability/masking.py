"""The removal of secret values from anything that is stored, logged or shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

MASK = "***"
SHORTEST_PART = 6
"""A shorter beginning of a secret at the end of a text is taken for chance."""
SENSITIVE_HEADERS = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "www-authenticate",
        "x-api-key",
        "x-auth-token",
    }
)
SENSITIVE_KEY = re.compile(
    r"(?i)(^|[_-])(password|passwd|secret|secrets|token|authorization|cookie|api[_-]?key|private[_-]?key|ciphertext)$"
)
# Credentials recognised by their form wherever they stand: bearer headers, JWTs, passwords inside URLs or
# strings of libpq, keys of Azure's connection strings, signatures of its URLs, secrets that sign webhooks.
SENSITIVE_TEXT = (
    re.compile(r"(?i)(?<=bearer )[a-z0-9._~+/=-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"),
    re.compile(r"(?i)(?<=\bpassword=)('[^']*'|[^\s;&]+)"),
    re.compile(r"(?i)(?<=accesskey=)[^\s;\"']+"),
    re.compile(r"(?i)(?<=accountkey=)[^\s;\"']+"),
    re.compile(r"(?i)(?<=[?&]sig=)[^\s;&\"']+"),
    re.compile(r"\bwhsec_[A-Za-z0-9+/=]{8,}"),
)


_in_use: ContextVar[tuple[str, ...]] = ContextVar("secrets_in_use", default=())


@contextmanager
def secrets_in_use(secrets: Collection[str]) -> Iterator[None]:
    """Keep the plain values out of every log line that this thread writes within the block."""
    token = _in_use.set((*_in_use.get(), *secrets))
    try:
        yield
    finally:
        _in_use.reset(token)


def mask_log(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a log line without secrets: those in use, and what looks like a credential."""
    masked: dict[str, Any] = mask_values(mask_fields(fields), _in_use.get())
    return masked


def mask_values(value: Any, secrets: Collection[str]) -> Any:
    """Return the JSON value with each secret in its strings and keys replaced by `***`.

    A secret is found as it is, and in its JSON-escaped and URL-quoted form; so is the beginning of one at the
    end of a text, as an excerpt may cut it. Empty secrets are ignored.
    """
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    if not forms:
        return value
    # The longest first: a secret that contains another must not leave its rest readable.
    ordered = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, ordered)))
    return _walk(value, lambda text: _without_cut(pattern.sub(MASK, text), ordered))


def holds_secret(content: bytes, secrets: Collection[str]) -> bool:
    """Tell whether a secret stands in the bytes, in a form that `mask_values` would find in text."""
    return any(form.encode() in content for secret in secrets if secret for form in _forms(secret))


def mask_fields(value: Any) -> Any:
    """Return the value for a log: fields with telling names and credentials of known form become `***`."""
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(key, str) and SENSITIVE_KEY.search(key) else mask_fields(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_fields(item) for item in value]
    if isinstance(value, str):
        for pattern in SENSITIVE_TEXT:
            value = pattern.sub(MASK, value)
    return value


def _forms(secret: str) -> tuple[str, ...]:
    escaped = json.dumps(secret)[1:-1]
    return (
        secret,
        escaped,
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret),
    )


def _without_cut(text: str, forms: Sequence[str]) -> str:
    """Mask the beginning of a secret that the text ends with."""
    for form in forms:
        start = form[:SHORTEST_PART]
        at = text.find(start, max(0, len(text) - len(form) + 1)) if len(form) > SHORTEST_PART else -1
        while at >= 0:
            if form.startswith(text[at:]):
                return text[:at] + MASK
            at = text.find(start, at + 1)
    return text


def _walk(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {_walk(key, mask): _walk(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, mask) for item in value]
    return value
