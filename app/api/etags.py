"""Entity tags: row versions with digests of what is sent, checked against If-Match, If-None-Match."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from flask import Response, request
from werkzeug.exceptions import BadRequest, PreconditionRequired

_STRONG: Final = re.compile(r'"v([0-9]{1,9})(?:\.[0-9a-f]{16})?"')
_DIGEST_BYTES: Final = 8
IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of the version that this change is based on.",
    "schema": {"type": "string", "pattern": r'^("v[0-9]{1,9}(\.[0-9a-f]{16})?"|\*)$'},
}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of an answer at hand: 304 without a body when it is still the same.",
    "schema": {"type": "string"},
}

ASK_EACH_TIME: Final = "private, no-cache"
"""The caller's own cache may keep an answer, but asks whether it is still so before each use."""
FOR_EVERYBODY: Final = "public, no-cache"
"""Any cache may keep it, but asks whether it is still so."""
UNTIL_A_RELEASE: Final = "private, max-age=3600"
"""The same for everybody, as the running release has it; a new one may come within the hour."""
NEVER_CHANGES: Final = "private, max-age=31536000, immutable"
"""What has its version or its digest in its path: nobody need ask again."""


def etag_of(version: int) -> str:
    """Return the strong entity tag of a row version."""
    return f'"v{version}"'


def expected_version(*, required: bool = True) -> int | None:
    """Return the version that If-Match names, or None for any (`*`, or no header where none is required).

    Raises 428 when the header is required but missing, 400 when it is not one of our tags.
    """
    header = request.headers.get("If-Match", "").strip()
    if not header:
        if required:
            raise PreconditionRequired("send If-Match with the ETag that the last answer carried")
        return None
    if header == "*":
        return None
    match = _STRONG.fullmatch(header)
    if match is None:
        raise BadRequest('If-Match must be an ETag of this API, such as "v3", or *')
    return int(match[1])


def shown(body: str, caching: str, headers: dict[str, Any]) -> Response:
    """Return the answer to a read, tagged by its bytes; 304 without them when the caller has the same.

    The version alone would not do: steps of a run change while the run's row stays as it is. A tag that the
    view has set is that version; If-Match of a change looks at it only.
    """
    content = body.encode()
    version = headers.get("ETag")
    tag = f'"{_digest(content)}"' if version is None else f'{version[:-1]}.{_digest(content)}"'
    made = unchanged(tag) or Response(content, content_type="application/json")
    made.headers.update(headers)
    return cacheable(made, tag, caching)


def shown_to_all(content: bytes, content_type: str) -> Response:
    """Return an answer that is the same for everybody, signed in or not."""
    tag = f'"{_digest(content)}"'
    made = unchanged(tag) or Response(content, content_type=content_type)
    made.headers.update({"ETag": tag, "Cache-Control": FOR_EVERYBODY})
    return made


def unchanged(tag: str) -> Response | None:
    """Return the answer 304 when the caller has what `tag` names, else None."""
    if "If-None-Match" not in request.headers or not request.if_none_match.contains_weak(tag.strip('"')):
        return None
    return Response(status=304)


def cacheable(answer: Response, tag: str, caching: str) -> Response:
    """Return the answer with its tag, with what a cache may do."""
    answer.headers["ETag"] = tag
    answer.headers["Cache-Control"] = caching
    # Other callers get other answers at the same address: their tenant stands in the token.
    answer.headers["Vary"] = "Authorization"
    return answer


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
