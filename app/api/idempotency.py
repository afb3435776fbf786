"""Idempotency-Key: a creating request that is sent again gets the first answer again."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from flask import Request, Response
from marshmallow import Schema
from werkzeug.exceptions import BadRequest

from app.api.dumping import Dump, compiled
from app.api.request_context import actor, asked, parts
from app.api.serving import Answer
from app.db import idempotency as store
from app.db.engine import Connection
from app.db.intake import Acceptance, Kept
from app.domain.errors import Conflict, InvalidInput
from app.services.receipts import NO_RECEIPT, Receipt

HEADER: Final = "Idempotency-Key"
_ENCODER: Final = json.JSONEncoder(default=str, separators=(",", ":"))
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
IDEMPOTENCY_KEY: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Repeat a request with the same key within 24 hours to get its first answer again.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$", "minLength": 1, "maxLength": 255},
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer as it is kept: status, the headers that matter, the body's text."""

    status: int
    headers: Mapping[str, str]
    body: str

    def response(self, *, replayed: bool = False) -> Response:
        """Return it as an HTTP answer, marked when it is a repeated one."""
        answer = Answer(self.body, status=self.status, content_type="application/json")
        answer.headers.extend(self.headers)
        if replayed:
            answer.headers["Idempotency-Replayed"] = "true"
        return answer


Render = Callable[[Any], Rendered]


def rendered(status: int, schema: Schema, value: Any, headers: Mapping[str, str] | None = None) -> Rendered:
    """Return `value`, dumped by `schema`, as an answer."""
    return dumped(status, _dump_of(type(schema))(value), headers)


def dumped(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Rendered:
    """Return a document, such as a schema would dump, as an answer."""
    return Rendered(status, headers or {}, _ENCODER.encode(document))


@cache
def _dump_of(schema: type[Schema]) -> Dump:
    return compiled(schema)


class _Replay(Exception):
    # No error: the way out of a transaction that has nothing to do.
    def __init__(self, answer: Rendered) -> None:
        super().__init__("the request was answered before")
        self.answer = answer


@dataclass(slots=True)
class _KeyedReceipt:
    """Keeps the answer in the very transaction that did the work."""

    route: str
    key: str
    request_hash: str
    render: Render
    answer: Rendered | None = field(default=None)

    def open(self, connection: Connection) -> None:
        """Claim the key for this transaction; raises when it is claimed, spent elsewhere, or answered."""
        caller = actor()
        claim = store.claim(connection, caller.tenant_id, str(caller.user_id), self.route, self.key)
        self._replay(claim.stored)
        if not claim.acquired:
            raise _in_progress()

    def close(self, connection: Connection, result: Any) -> None:
        """Render the answer, then keep it."""
        kept = self.before(result)
        if not store.keep(connection, actor().tenant_id, kept.user, self.route, self.key, kept.answer):
            raise _in_progress()

    def before(self, result: Any) -> Kept:
        """Render the answer."""
        self.answer = self.render(result)
        answer = store.Stored(
            request_hash=self.request_hash,
            status=self.answer.status,
            headers=dict(self.answer.headers),
            body=self.answer.body,
        )
        return Kept(str(actor().user_id), self.route, self.key, answer)

    def after(self, acceptance: Acceptance) -> None:
        """Give the first answer again when there is one, refuse while it is being made."""
        self._replay(acceptance.stored)
        if acceptance.verdict != "accepted":
            raise _in_progress()

    def _replay(self, kept: store.Stored | None) -> None:
        if kept is None:
            return
        if kept.request_hash != self.request_hash:
            raise InvalidInput.at(f"/headers/{HEADER}", "reused", "the key was used with another request")
        raise _Replay(Rendered(kept.status, kept.headers, kept.body))


def answer_once(perform: Callable[[Receipt], Any], render: Render) -> Response:
    """Perform a creating use case, at most once for each Idempotency-Key, then answer.

    `perform` gets the receipt that it must open first and close last in its transaction.
    """
    request = asked()
    key = request.headers.get(HEADER)
    if key is None:
        return render(perform(NO_RECEIPT)).response()
    if not _KEY.fullmatch(key):
        raise BadRequest(f"{HEADER} must be 1 to 255 visible ASCII characters")
    receipt = _KeyedReceipt(f"{request.method} {request.path}", key, _request_hash(request), render)
    try:
        result = perform(receipt)
    except _Replay as replay:
        return replay.answer.response(replayed=True)
    return (receipt.answer or render(result)).response()


def _request_hash(request: Request) -> str:
    """Return a keyed hash of what the request asks for, its bytes as they came.

    Keyed, since a body may hold a password: a plain hash of it could be guessed at great speed.
    """
    head = request.query_string + b"\n" + request.mimetype.encode() + b"\n"
    return hmac.digest(parts().keys.derived, head + request.get_data(cache=True), "sha256").hex()


def _in_progress() -> Conflict:
    return Conflict(f"a request with this {HEADER} is being answered: try again soon", "request_in_progress")
