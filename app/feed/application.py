"""The ASGI application: one route that streams, two that tell its health."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import uuid4

from app.domain.errors import Forbidden, InvalidInput, NotFound, QuantumError, Unauthenticated, Unavailable
from app.domain.identity import Actor
from app.domain.interest import Interest, interest_of
from app.domain.tracing import parse_traceparent
from app.feed.replies import STREAM_HEADERS, Receive, Send, answer, begin, refuse
from app.feed.stream import LEFT, STALLED, Stream, StreamRules
from app.observability.context import log_context
from app.observability.logging import get_log
from app.observability.metrics import CONTENT_TYPE, FEED_CUT, render_metrics
from app.security.access_tokens import Bearer, read_bearer
from app.security.authorize import authorize
from app.security.keys import SigningKeys
from app.services.flags import Flags
from app.services.live_feed import LiveFeed
from app.services.standing import Standings

PATH: Final = "/api/v1/events/stream"
_PERMISSION: Final = "events:read"
_ACCEPTED_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_QUERY: Final = frozenset({"type", "subject", "after"})
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_HIGHEST: Final = 2**63 - 1
_JSON: Final = {"Content-Type": "application/json"}

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class FeedParts:
    """What the feed is wired with; `ready` raises when the database does not answer."""

    feed: LiveFeed
    keys: SigningKeys
    standings: Standings
    flags: Flags
    rules: StreamRules
    ready: Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    method: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    request_id: str


class Feed:
    """Serves `GET /api/v1/events/stream`, `/healthz`, `/readyz`, `/metrics`."""

    def __init__(self, parts: FeedParts) -> None:
        self._parts = parts
        self._watcher: asyncio.Task[None] | None = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            request = _request(scope)
            caller = parse_traceparent(request.headers.get("traceparent"))
            with log_context(request_id=request.request_id, trace_id=caller and caller.trace_id):
                await self._serve(request, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._watcher = asyncio.create_task(self._parts.feed.watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._watcher.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, request: _Request, receive: Receive, send: Send) -> None:
        try:
            if request.path != PATH:
                await self._health(request, send)
            elif request.method != "GET":
                await answer(send, 405, {"Allow": "GET"}, request.request_id, b"")
            else:
                await self._stream(request, receive, send)
        except QuantumError as error:
            await refuse(send, error, request.path, request.request_id)

    async def _stream(self, request: _Request, receive: Receive, send: Send) -> None:
        bearer = read_bearer(request.headers.get("authorization", ""), self._parts.keys, request.request_id)
        authorize(await self._present(bearer), _PERMISSION)
        interest, start = _wanted(request)
        tenant_id = bearer.actor.tenant_id
        await asyncio.to_thread(self._parts.flags.require, "live_feed", tenant_id)
        with log_context(tenant_id=tenant_id, user_id=bearer.actor.user_id):
            async with self._parts.feed.reading(tenant_id, start) as reading:
                await begin(send, 200, STREAM_HEADERS, request.request_id)
                position = reading.newest if start is None else start
                stream = Stream(reading, interest, position, self._parts.rules, time.monotonic)
                log.info("stream_opened", position=position)
                reason = await stream.pour(receive, send, lambda: self._ends(bearer))
                log.info("stream_ended", reason=reason, position=stream.position)
                FEED_CUT.labels(reason).inc()
            if reason not in (LEFT, STALLED):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ends(self, bearer: Bearer) -> str | None:
        """Return why the caller may read no longer, None while it may; raises Unavailable."""
        if time.time() >= bearer.ends_at:
            return "expired"
        try:
            authorize(await self._present(bearer), _PERMISSION)
        except (Unauthenticated, Forbidden):
            return "revoked"
        return None

    async def _present(self, bearer: Bearer) -> Actor:
        """Return the caller with the roles it still has; raises Unauthenticated, Unavailable."""
        actor = bearer.actor
        assert actor.user_id is not None
        place = (actor.tenant_id, actor.user_id, bearer.session_id)
        present = await asyncio.to_thread(self._parts.standings.roles, *place)
        if present is None:
            raise Unauthenticated("the session has ended, or its user is closed, or its tenant suspended")
        return replace(actor, roles=actor.roles & present)

    async def _health(self, request: _Request, send: Send) -> None:
        if request.path == "/metrics":
            await answer(send, 200, {"Content-Type": CONTENT_TYPE}, request.request_id, render_metrics())
        elif request.path == "/healthz":
            await answer(send, 200, _JSON, request.request_id, json.dumps({"status": "ok"}).encode())
        elif request.path == "/readyz":
            try:
                await asyncio.to_thread(self._parts.ready)
                status, state = 200, "ok"
            except Unavailable:
                status, state = 503, "down"
            await answer(send, status, _JSON, request.request_id, json.dumps({"status": state}).encode())
        else:
            raise NotFound(f"the feed serves {PATH}")


def _request(scope: Mapping[str, Any]) -> _Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    given = headers.get("x-request-id", "")
    return _Request(
        path=scope["path"],
        method=scope["method"],
        query=parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
        headers=headers,
        request_id=given if _ACCEPTED_ID.fullmatch(given) else str(uuid4()),
    )


def _wanted(request: _Request) -> tuple[Interest, int | None]:
    """Return what the reader asks for, with the position to go on behind; raises InvalidInput."""
    unknown = sorted(request.query.keys() - _QUERY)
    if unknown:
        words = f"the stream takes {', '.join(sorted(_QUERY))}"
        raise InvalidInput.at(f"/query/{unknown[0]}", "unknown", words)
    subjects = request.query.get("subject", [])
    if len(subjects) > 1:
        raise InvalidInput.at("/query/subject", "too_many", "one subject, or none")
    types = [name for given in request.query.get("type", []) for name in given.split(",")]
    # A reconnecting browser sends the header beside the address it began with: the header is the later word.
    resumed = request.headers.get("last-event-id", "")
    after = request.query.get("after", [""])[-1]
    pointer = "/header/Last-Event-ID" if resumed else "/query/after"
    return interest_of(types, subjects[0] if subjects else None), _position(resumed or after, pointer)


def _position(text: str, pointer: str) -> int | None:
    if not text:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > _HIGHEST:
        raise InvalidInput.at(pointer, "range", "a position is a whole number of the feed's")
    return int(text)
