"""The built-in module `http`: requests to the outside that cannot be turned against the inside."""

from __future__ import annotations

import json as jsonlib
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import urllib3
from urllib3.response import BaseHTTPResponse

from app.domain.breakers import BreakerRules
from app.domain.errors import Deferred, OperationFailed
from app.domain.modules import Module, OperationContext
from app.observability import tracing
from app.observability.breakers import Guard, Guards
from app.observability.masking import MASK, SENSITIVE_HEADERS
from app.security.egress import (
    NameNotResolved,
    Resolver,
    Target,
    TargetRefused,
    check_target,
    system_resolver,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
SILENCE = frozenset({"unreachable", "timed_out"})
LONGEST_LEFT_S = 30.0
"""How long a step waits at most before it looks again whether somebody has had an answer."""
MOST_REDIRECTS = 5
DEFAULT_MAX_BYTES = 1 << 20
MOST_BYTES = 10 << 20
LONGEST_RETRY_AFTER_S = 3600.0
EXCERPT = 500
PIECE = 1 << 16
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Set by the connection itself: a caller who could choose them could smuggle a second request.
FRAMING_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)
# The only headers of the caller that follow a redirect to another origin: any other may carry a credential.
TRAVELLING_HEADERS = frozenset({"accept", "accept-language", "user-agent"})

HOSTS = Guards("http", BreakerRules(failures=5, first_s=30.0, most_s=300.0, probe_s=330.0), most=1000)
"""By tenant, host, port, in each process: no tenant can have another's host left alone."""

module = Module("http", "1.0.0", "Requests to public HTTP services")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to make, the same for each hop except where a redirect changes it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    deadline: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from one hop."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@module.operation(
    "request",
    input_schema={
        "type": "object",
        "properties": {
            "method": {"enum": list(METHODS)},
            "url": {"type": "string", "minLength": 1},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 50},
            "json": {"description": "Any JSON value, sent as the body"},
            "timeout_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 300},
            "expect_status": {
                "oneOf": [
                    {"type": "integer", "minimum": 100, "maximum": 599},
                    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 50},
                ]
            },
            "max_bytes": {"type": "integer", "minimum": 1, "maximum": MOST_BYTES},
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "required": ["status", "headers", "bytes"]},
    timeout_s=330,
    idempotent=False,
)
def request(
    context: OperationContext,
    *,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    timeout_s: float = 30,
    expect_status: int | Sequence[int] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> dict[str, Any]:
    """Make one HTTP request; return {status, headers, json or text, bytes}.

    Without `expect_status` any 2xx is right. `timeout_s` covers all hops; an answer beyond `max_bytes` is an
    error. Raises OperationFailed: retryable for connection errors, time-outs, 408, 425, 429 and 5xx, with
    `retry_after_s` in its detail when the server asked for a pause.
    """
    call = Call(
        method,
        url,
        _outgoing(headers or {}, has_body=json is not None, key=context.idempotency_key),
        jsonlib.dumps(json).encode() if json is not None else None,
        time.monotonic() + min(timeout_s, context.timeout_s),
        min(max_bytes, MOST_BYTES),
    )
    answer = follow(context, call, system_resolver)
    expected = (expect_status,) if isinstance(expect_status, int) else expect_status
    right = answer.status in expected if expected is not None else 200 <= answer.status < 300  # noqa: PLR2004 - 2xx
    if not right:
        raise _unexpected(answer)
    return _result(answer)


def follow(context: OperationContext, call: Call, resolve: Resolver) -> Answer:
    """Make the call, judging the target of each redirect anew; raises OperationFailed."""
    target = _checked(call.url, context, resolve)
    _refuse_while_away(context, target)
    for _ in range(MOST_REDIRECTS + 1):
        if context.cancelled():
            raise OperationFailed("cancelled", "cancelled before the request", retryable=False)
        answer = _watched(context, call, target)
        location = answer.headers.get("location")
        if answer.status not in REDIRECTS or location is None:
            return answer
        url = urljoin(call.url, location)
        source, target = target, _checked(url, context, resolve)
        call = _redirected(call, answer.status, url, source, target)
    raise OperationFailed("too_many_redirects", f"more than {MOST_REDIRECTS} redirects", retryable=False)


def _outgoing(headers: Mapping[str, str], *, has_body: bool, key: str) -> dict[str, str]:
    for name, value in headers.items():
        if not TOKEN.fullmatch(name) or name.lower() in FRAMING_HEADERS:
            raise OperationFailed("bad_header", f"header {name!r} may not be set", retryable=False)
        if re.search(r"[\r\n\0]", value):
            raise OperationFailed("bad_header", f"header {name!r} holds a line break", retryable=False)
    ours = {"Accept-Encoding": "identity", "User-Agent": "quantum-platform", "Idempotency-Key": key}
    if has_body:
        ours["Content-Type"] = "application/json"
    given = {name.lower() for name in headers}
    return {name: value for name, value in ours.items() if name.lower() not in given} | dict(headers)


def _checked(url: str, context: OperationContext, resolve: Resolver) -> Target:
    try:
        return check_target(url, context.resources.allowed_http_targets, resolve)
    except TargetRefused as error:
        raise OperationFailed("target_refused", str(error), retryable=False) from error
    except NameNotResolved as error:
        raise OperationFailed("name_not_resolved", str(error), retryable=True) from error


def _redirected(call: Call, status: int, url: str, source: Target, target: Target) -> Call:
    if source.scheme == "https" and target.scheme == "http":
        raise OperationFailed("redirect_refused", "a redirect from https to http is refused", retryable=False)
    moved = replace(call, url=url)
    if status == 303 or (status in (301, 302) and call.method == "POST"):  # noqa: PLR2004 - RFC 9110 names them
        kept = {name: text for name, text in call.headers.items() if name.lower() != "content-type"}
        moved = replace(moved, method="HEAD" if call.method == "HEAD" else "GET", body=None, headers=kept)
    if target.origin != source.origin:
        if moved.body is not None:
            raise OperationFailed(
                "redirect_refused", "a body may not follow to another origin", retryable=False
            )
        kept = {name: text for name, text in moved.headers.items() if name.lower() in TRAVELLING_HEADERS}
        moved = replace(moved, headers=kept)
    return moved


def _guard(context: OperationContext, target: Target) -> Guard:
    return HOSTS.of((context.tenant_id, target.host, target.port))


def _refuse_while_away(context: OperationContext, target: Target) -> None:
    """Put the step off while the host gives no answers: a slot is worth more than one more time-out."""
    guard = _guard(context, target)
    if not guard.allows():
        words = f"{target.host_header} gave no answer several times: it is left alone for a while"
        raise Deferred("host_left_alone", words, min(max(guard.left_s, 1.0), LONGEST_LEFT_S))


def _watched(context: OperationContext, call: Call, target: Target) -> Answer:
    """Make one hop; only silence counts against the host, since whatever it answers it is there."""
    guard = _guard(context, target)
    try:
        answer = _exchange(context, call, target)
    except OperationFailed as fault:
        if fault.code in SILENCE:
            guard.failed()
        else:
            guard.succeeded()
        raise
    guard.succeeded()
    return answer


def _exchange(context: OperationContext, call: Call, target: Target) -> Answer:
    left = _left(call)
    limits = urllib3.Timeout(connect=min(left, 10.0), read=left)
    pool: urllib3.HTTPConnectionPool
    if target.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(
            target.address,
            target.port,
            ssl_context=ssl.create_default_context(),
            server_hostname=target.host,
            assert_hostname=target.host,
        )
    else:
        pool = urllib3.HTTPConnectionPool(target.address, target.port)
    with pool, _span(call, target) as span:
        headers = {**_trace_header(call), **call.headers, "Host": target.host_header}
        try:
            response = pool.urlopen(
                call.method,
                target.path,
                body=call.body,
                headers=headers,
                timeout=limits,
                retries=False,
                redirect=False,
                preload_content=False,
                assert_same_host=False,
            )
            span.set(http__response__status_code=response.status)
            if response.status >= 400:  # noqa: PLR2004 - a fault, as OpenTelemetry has it for clients
                span.fail(str(response.status))
            with closing(response):
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, _body(context, call, response))
        except urllib3.exceptions.SSLError as error:
            raise OperationFailed(
                "tls_failed", f"TLS with {target.host}: {error}", retryable=False
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # NewConnectionError, a refusal, is a TimeoutError by the library's history only.
            late = isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError)
            late = late and not isinstance(error, urllib3.exceptions.NewConnectionError)
            kind = "timed_out" if late else "unreachable"
            message = f"{call.method} {target.scheme}://{target.host_header}: {kind.replace('_', ' ')}"
            detail = {"reason": type(error).__name__}
            raise OperationFailed(kind, message, retryable=True, detail=detail) from error


def _span(call: Call, target: Target) -> AbstractContextManager[tracing.Span]:
    """Return the span of one hop; of its address the host only, since a path or a query may hold anything."""
    return tracing.span(
        call.method,
        "client",
        http__request__method=call.method,
        server__address=target.host,
        server__port=target.port,
        url__scheme=target.scheme,
    )


def _trace_header(call: Call) -> dict[str, str]:
    """Return the header that lets the other side go on with the trace, unless the caller set one."""
    return {} if any(name.lower() == tracing.HEADER for name in call.headers) else tracing.outgoing()


def _body(context: OperationContext, call: Call, response: BaseHTTPResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    if call.method == "HEAD":
        return b""
    told = response.headers.get("content-length", "")
    whole = int(told) if told.isdecimal() and 0 < int(told) <= call.max_bytes else None
    # read1 returns what is there: a server that sends a byte at a time meets the deadline, not a full buffer.
    while piece := response.read1(PIECE):
        size += len(piece)
        if size > call.max_bytes:
            raise OperationFailed(
                "answer_too_large", f"the answer exceeds {call.max_bytes} bytes", retryable=False
            )
        pieces.append(piece)
        _left(call)
        if context.cancelled():
            raise OperationFailed("cancelled", "cancelled while reading the answer", retryable=False)
        context.heartbeat(size / whole if whole else None, f"{size} bytes of the answer")
    return b"".join(pieces)


def _left(call: Call) -> float:
    left = call.deadline - time.monotonic()
    if left <= 0:
        raise OperationFailed("timed_out", "the request took longer than timeout_s", retryable=True)
    return left


def _unexpected(answer: Answer) -> OperationFailed:
    detail: dict[str, Any] = {"status": answer.status, "excerpt": _text(answer.body[:EXCERPT])}
    retryable = answer.status in RETRYABLE or answer.status >= 500  # noqa: PLR2004 - 5xx
    pause = retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC))
    if retryable and pause is not None:
        detail["retry_after_s"] = pause
    return OperationFailed(
        "unexpected_status", f"the server answered {answer.status}", retryable=retryable, detail=detail
    )


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, capped at an hour; None without a usable one."""
    if value is None:
        return None
    if value.strip().isdecimal():
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _result(answer: Answer) -> dict[str, Any]:
    shown = {
        name: MASK if name in SENSITIVE_HEADERS else _clean(text) for name, text in answer.headers.items()
    }
    result: dict[str, Any] = {"status": answer.status, "headers": shown, "bytes": len(answer.body)}
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.body and (kind == "application/json" or kind.endswith("+json")):
        result["json"] = _json(answer.body)
    else:
        result["text"] = _text(answer.body)
    return result


def _json(body: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return _storable(jsonlib.loads(body, parse_constant=refuse))
    except (ValueError, RecursionError) as error:
        raise OperationFailed("bad_json", f"the answer is not JSON: {error}", retryable=False) from error


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _text(body: bytes) -> str:
    return _clean(body.decode("utf-8", "replace"))


def _clean(text: str) -> str:
    """Replace what the database cannot hold in a text: NUL, lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
