"""Reads: from the replica as far as the caller's token allows, with the token of each write."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, cast

from flask import Response, g, request
from werkzeug.exceptions import BadRequest

from app.api.request_context import parts
from app.db.engine import Database
from app.db.replica import position
from app.domain.errors import Unavailable
from app.domain.replication import LATEST, parse_position
from app.services.read_source import ReadSource

View = Callable[..., Any]

HEADER: Final = "Quantum-Consistency-Token"
NEWEST: Final = "latest"
_ERRORS: Final = 400
CONSISTENCY: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "What a write answered with: this answer is as new at least; `latest`: the newest.",
    "schema": {"type": "string", "pattern": "^([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}|latest)$"},
}
CONSISTENCY_ANSWER: Final = {
    HEADER: {
        "description": "Send it with a read that must show this change; only where reads go to a replica",
        "schema": {"type": "string"},
    }
}


def source() -> Database:
    """Return the database that this read is answered from; only for what is shown, never to decide by."""
    return cast(ReadSource, g.source).database()


def reading(view: View) -> View:
    """Return a view that may read from the replica; where that fails it, it is run again on the primary."""

    @functools.wraps(view)
    def read(*args: Any, **kwargs: Any) -> Any:
        wired = parts()
        g.source = ReadSource(wired.database, wired.replica, _wanted())
        try:
            return view(*args, **kwargs)
        except Exception as fault:  # a read changes nothing: what is no fault of the replica's comes again
            if not g.source.again(fault):
                raise
        return view(*args, **kwargs)

    return read


def writing(view: View) -> View:
    """Return a view whose answer carries the position of what it has committed, where there is a replica."""

    @functools.wraps(view)
    def write(*args: Any, **kwargs: Any) -> Any:
        answer: Response = view(*args, **kwargs)
        wired = parts()
        if wired.replica is not None and answer.status_code < _ERRORS:
            try:
                answer.headers[HEADER] = position(wired.database)
            except Unavailable:
                # The change is committed: that must not be told otherwise.
                answer.headers[HEADER] = NEWEST
        return answer

    return write


def _wanted() -> int | None:
    text = request.headers.get(HEADER)
    if text is None:
        return None
    if text == NEWEST:
        return LATEST
    try:
        return parse_position(text)
    except ValueError as wrong:
        raise BadRequest(f"{HEADER} must be what a write answered with, or {NEWEST}") from wrong
