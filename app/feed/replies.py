"""What the feed writes: frames of a stream, problem documents."""

from __future__ import annotations

import http
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from app.domain import errors
from app.domain.events import Event

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Headers = Mapping[str, str]

_STATUS: Final[Mapping[type[errors.QuantumError], int]] = {
    errors.InvalidInput: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}
_SAFETY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # a proxy that gathers a stream would hold events back
}
PROBLEM_TYPE: Final = "application/problem+json"


def frame(event: Event) -> bytes:
    """Return an event as a server-sent one; its id is the position to resume from."""
    return (
        f"id: {event.position}\ndata: {json.dumps(event.cloud_event(), separators=(',', ':'))}\n\n".encode()
    )


def beat(position: int) -> bytes:
    """Return a sign of life: a comment, beside an id that moves a reader past what its filter left out."""
    return f": alive\nid: {position}\n\n".encode()


def notice(kind: str, **data: str) -> bytes:
    """Return an event about the stream itself, named so that no reader takes it for news."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def opening(retry_ms: int) -> bytes:
    """Return the first frame: how long a client is to wait before it connects again."""
    return f"retry: {retry_ms}\n: connected\n\n".encode()


async def begin(send: Send, status: int, headers: Headers, request_id: str) -> None:
    """Send status and headers."""
    written = {**_SAFETY, "X-Request-ID": request_id, **headers}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in written.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def answer(send: Send, status: int, headers: Headers, request_id: str, body: bytes) -> None:
    """Send a whole response."""
    await begin(send, status, headers, request_id)
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def refuse(send: Send, error: errors.QuantumError, path: str, request_id: str) -> None:
    """Answer an error of the domain as RFC 9457 says."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    headers = {"Content-Type": PROBLEM_TYPE}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    document = problem(status, error, path, request_id)
    await answer(send, status, headers, request_id, json.dumps(document).encode())


def problem(status: int, error: errors.QuantumError, path: str, request_id: str) -> dict[str, Any]:
    """Return the problem document, of the same form as the API's."""
    faults = [
        {"pointer": each.pointer, "code": each.code, "message": each.message}
        for each in getattr(error, "faults", ())
    ]
    return {
        "type": "urn:quantum:problem:" + error.code.replace("_", "-"),
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "instance": path,
        "request_id": request_id,
        **({"errors": faults} if faults else {}),
    }
