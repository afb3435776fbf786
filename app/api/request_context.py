"""What surrounds every request: its id, the caller, the safety headers."""

from __future__ import annotations

import random
import re
import time
from typing import Final, NamedTuple, cast
from uuid import UUID

import structlog
from flask import Flask, Request, Response, g
from flask.globals import app_ctx, request_ctx
from flask_jwt_extended import get_jwt, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import PyJWTError
from werkzeug.exceptions import BadRequest

from app.api.parts import ApiParts
from app.domain.errors import Unauthenticated
from app.domain.identity import Actor
from app.domain.tracing import TraceContext
from app.observability import tracing
from app.observability.metrics import CacheLooks

REQUEST_ID: Final = "X-Request-ID"
TRACE_RESPONSE: Final = "traceresponse"
UNWATCHED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: their lines and spans would bury the others."""
_ACCEPTED_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_VERIFIED: Final = 4096
"""Tokens whose signature is remembered; beyond that all are forgotten at once."""
_LOOKS: Final = CacheLooks("access_tokens")
_SAFETY: Final = tuple(
    (name.lower(), (name, value))
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
    }.items()
)


class _Token(NamedTuple):
    """What a token says whose signature was good; `named` is what log lines tell of its holder."""

    ends: float
    tenant_id: UUID
    tenant_slug: str
    user_id: UUID
    session_id: UUID
    email: str
    roles: frozenset[str]
    named: dict[str, str]


def parts() -> ApiParts:
    """Return what the application was wired with."""
    return cast(ApiParts, app_ctx.app.extensions["quantum"])


def asked() -> Request:
    """Return the present request itself: each look at it through Flask's stand-in costs a microsecond."""
    return request_ctx.request


def surround(app: Flask) -> None:
    """Hang the request id, the refusal of NUL characters and the safety headers around every request."""
    app.extensions["quantum.verified"] = {}
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def identify() -> Actor:
    """Return the caller whom the bearer token names; raises Unauthenticated.

    A role taken away, a session ended, a user closed or a tenant suspended is felt within 5 seconds; a role
    given, with the next access token.
    """
    try:
        token = _token()
    except (PyJWTError, JWTExtendedException, KeyError, ValueError) as refused:
        raise Unauthenticated(_reason(refused)) from refused
    structlog.contextvars.bind_contextvars(**token.named)
    present = parts().standings.roles(token.tenant_id, token.user_id, token.session_id)
    if present is None:
        raise Unauthenticated("the session has ended, or its user is closed, or its tenant suspended")
    kept = app_ctx.g
    kept.actor = Actor(
        token.tenant_id,
        token.tenant_slug,
        token.user_id,
        token.email,
        token.roles & present,
        kept.request_id,
        asked().remote_addr,
    )
    return cast(Actor, kept.actor)


def actor() -> Actor:
    """Return the caller of a secured route."""
    return cast(Actor, g.actor)


def _token() -> _Token:
    """Return what the request's token says; its signature is checked once, its end every time."""
    verified: dict[str, _Token] = app_ctx.app.extensions["quantum.verified"]
    header = asked().headers.get("Authorization", "")
    token = verified.get(header)
    good = token is not None and token.ends > time.time()
    _LOOKS.count(hit=good)
    if token is not None and good:
        return token
    verify_jwt_in_request()
    claims = get_jwt()
    tenant_id, user_id, session_id = (UUID(claims[name]) for name in ("tid", "sub", "sid"))
    named = {"tenant_id": str(tenant_id), "user_id": str(user_id)}
    roles = frozenset(claims["roles"])
    token = _Token(
        claims["exp"], tenant_id, claims["tenant"], user_id, session_id, claims["email"], roles, named
    )
    if len(verified) >= _VERIFIED:
        verified.clear()
    verified[header] = token
    return token


def _reason(refused: Exception) -> str:
    if type(refused).__name__ == "ExpiredSignatureError":
        return "the access token has expired: refresh it"
    if type(refused).__name__ == "NoAuthorizationError":
        return "send a bearer token"
    return "the access token is not valid"


def _fresh_id() -> str:
    # It only has to differ from the others: no call of the system's generator on every request.
    return str(UUID(int=random.getrandbits(128), version=4))


def _record(trace: TraceContext, status: int) -> None:
    """Record the request's span: its route, never its path, and the caller by id only."""
    rule = asked().url_rule
    route = rule.rule if rule else "unmatched"
    attributes: dict[str, tracing.Value] = {
        "http.request.method": asked().method if rule else "_OTHER",
        "http.route": route,
        "http.response.status_code": status,
        "quantum.request_id": g.request_id,
    }
    caller = g.get("actor")
    if caller is not None:
        attributes |= {"quantum.tenant_id": str(caller.tenant_id), "enduser.id": str(caller.user_id)}
    tracing.record(
        tracing.FinishedSpan(
            f"{attributes['http.request.method']} {route}",
            "server",
            trace,
            g.trace_parent,
            g.began_ns,
            time.time_ns(),
            attributes,
            error=str(status) if status >= 500 else None,  # noqa: PLR2004 - the server's faults, as OpenTelemetry has it
        )
    )


def _begin() -> None:
    request, kept = asked(), app_ctx.g
    given = request.headers.get(REQUEST_ID, "")
    kept.request_id = given if _ACCEPTED_ID.fullmatch(given) else _fresh_id()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=kept.request_id)
    context, kept.trace_parent = tracing.begin(
        request.headers.get(tracing.HEADER), recorded=request.path not in UNWATCHED
    )
    tracing.set_current(context)
    kept.trace = context
    kept.began_ns = time.time_ns() if context.sampled else 0
    if "\x00" in request.path or b"%00" in request.query_string:
        raise BadRequest("the URL holds a NUL character")


def _forget(_error: BaseException | None) -> None:
    """What this thread writes behind the request is not about it."""
    structlog.contextvars.clear_contextvars()


def _end(response: Response) -> Response:
    # All at once: werkzeug looks through the headers that are there for each one that is set by itself.
    given = {name.lower() for name, _ in response.headers}
    kept = app_ctx.g
    added = [(REQUEST_ID, kept.get("request_id", ""))]
    trace = kept.get("trace")
    if trace is not None:
        added.append((TRACE_RESPONSE, trace.traceparent()))
        if trace.sampled:
            _record(trace, response.status_code)
        tracing.set_current(None)
    added += [header for name, header in _SAFETY if name not in given]
    response.headers.extend(added)
    return response
