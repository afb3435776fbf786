"""Entity tags made from row versions, checked against If-Match."""

from __future__ import annotations

import re

from flask import request
from werkzeug.exceptions import BadRequest, PreconditionRequired

_STRONG = re.compile(r'"v([0-9]{1,9})"')
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of the version that this change is based on.",
    "schema": {"type": "string", "pattern": r'^("v[0-9]{1,9}"|\*)$'},
}


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
