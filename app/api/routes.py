"""The one way to declare a route: its guard, its shapes, every status it may answer."""

from __future__ import annotations

import functools
import http
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import flask_smorest
from flask import Response
from marshmallow import Schema

from app.api.bodies import StrictParser
from app.api.dumping import compiled
from app.api.errors import PROBLEM_TYPE, ProblemSchema
from app.api.etags import ASK_EACH_TIME, IF_MATCH, IF_NONE_MATCH, shown
from app.api.idempotency import IDEMPOTENCY_KEY
from app.api.reading import CONSISTENCY, CONSISTENCY_ANSWER, reading, writing
from app.api.request_context import asked, identify, parts
from app.api.serving import Answer
from app.security.authorize import authorize

PREFIX: Final = "/api/v1"
SMALL_BODY: Final = 1024 * 1024
"""Bytes of a request body, where a route does not say otherwise."""

PROBLEM_STATUSES: Final = (400, 401, 403, 404, 409, 412, 413, 415, 422, 428, 429, 500, 503)

View = Callable[..., Any]
Glance = Callable[[Any], bool]


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


_REQUEST_ID_HEADER: Final = {"X-Request-ID": _header("Names this request in logs, events and audit records")}
_ETAG_HEADER: Final = {"ETag": _header("For If-Match of a change")}
_READ_HEADERS: Final = {
    "ETag": _header("For If-None-Match of the next read; for If-Match of a change where it begins with `v`"),
    "Cache-Control": _header("How long a cache of the caller's own may keep this"),
}
_NOT_MODIFIED: Final = {
    "description": "The caller has it already",
    "headers": {**_READ_HEADERS, **_REQUEST_ID_HEADER},
}
_RETRY_HEADER: Final = {"Retry-After": _header("Seconds to wait before the next try")}
_RETRIABLE: Final = frozenset({429, 503})
_CREATED_HEADERS: Final = {
    "Location": _header("Where the new resource is, when there is one"),
    "Idempotency-Replayed": _header("`true` when this answer was given before"),
}


def common_parameters() -> dict[str, dict[str, Any]]:
    """Return the headers of requests that `endpoint` refers to, by the name each has in the document."""
    return {"IfNoneMatch": IF_NONE_MATCH, "ConsistencyToken": CONSISTENCY}


def common_responses() -> dict[str, dict[str, Any]]:
    """Return the answers that `endpoint` refers to, by the name each has in the OpenAPI document."""
    problems = {
        f"Problem{code}": {
            "description": http.HTTPStatus(code).phrase,
            "headers": {**_REQUEST_ID_HEADER, **(_RETRY_HEADER if code in _RETRIABLE else {})},
            "content": {PROBLEM_TYPE: {"schema": ProblemSchema}},
        }
        for code in PROBLEM_STATUSES
    }
    return {"NotModified": _NOT_MODIFIED, **problems}


_PARSER: Final = StrictParser()
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


class Blueprint(flask_smorest.Blueprint):
    """A resource's routes, below the API's prefix."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, name: str, description: str, prefix: str = PREFIX) -> None:
        super().__init__(name, __name__, url_prefix=prefix or None, description=description)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call: the holders of `permission`, every signed-in user without one, anybody when `public`."""

    permission: str | None = None
    public: bool = False


ANYBODY: Final = Access(public=True)
SIGNED_IN: Final = Access()


def endpoint(
    blueprint: Blueprint,
    rule: str,
    access: Access | str,
    answer: type[Schema] | Schema | None,
    *,
    status: int = 200,
    body: type[Schema] | None = None,
    document: Mapping[str, Any] | None = None,
    query: type[Schema] | None = None,
    creates: bool = False,
    changes: bool = False,
    tagged: bool = False,
    errors: Iterable[int] = (),
    also: Mapping[int, type[Schema]] | None = None,
    caching: str = ASK_EACH_TIME,
    largest_body: int = SMALL_BODY,
    glance: Glance | None = None,
) -> Callable[[View], View]:
    """Register the decorated view under `rule`, such as "GET /runs/<uuid:run_id>".

    A text for `access` is the permission asked of the caller. `creates` accepts an Idempotency-Key, `changes`
    needs If-Match, `tagged` answers carry an ETag, `document` describes a body that the view reads by itself,
    `errors` adds to the statuses that follow, `also` names other answers than errors, `caching` is for reads,
    `glance` tells at a tenth of the price of most good bodies that the schema takes them unchanged.
    """
    guard = Access(access) if isinstance(access, str) else access
    method, path = rule.split(" ")
    statuses = _statuses(guard, path, body or document, query, creates, changes) | set(errors)
    reads = method == "GET"
    described: dict[str, Any] = {
        "security": _security(guard),
        "responses": _references(statuses, also or {}, reads),
        "parameters": _parameters(reads, creates, changes),
        **({"requestBody": document} if document is not None else {}),
    }
    headers = _headers(guard, reads, creates, tagged or changes)

    def register(view: View) -> View:
        # flask-smorest documents only: its wrappers would load and dump like this, at several times the cost.
        documented = blueprint.response(status, answer, headers=headers)(view)
        documented = _taking(blueprint, documented, query, body)
        documented = blueprint.doc(**described, operationId=view.__name__)(documented)
        loading = _loading(_answering(view, answer, status, caching if reads else None), body, query, glance)
        served = _guarded(_consistent(loading, guard, reads), guard, largest_body)
        served._apidoc = documented._apidoc  # type: ignore[attr-defined]  # where flask-smorest looks for it
        blueprint.route(path, methods=[method], endpoint=view.__name__)(served)
        return view

    return register


def _taking(
    blueprint: Blueprint, documented: View, query: type[Schema] | None, body: type[Schema] | None
) -> View:
    """Return the view with what it takes, for the OpenAPI document."""
    for schema, location in ((query, "query"), (body, "json")):
        if schema is not None:
            documented = blueprint.arguments(schema, location=location)(documented)
    return documented


def _consistent(view: View, guard: Access, reads: bool) -> View:
    """Return the view of a tenant's route with what lets its caller read his own writes."""
    if guard.public:
        return view
    return reading(view) if reads else writing(view)


def _loading(
    view: View, body: type[Schema] | None, query: type[Schema] | None, glance: Glance | None
) -> View:
    """Return the view with the request's body and query, checked, before its other arguments."""
    wanted = [
        (schema(), location) for schema, location in ((body, "json"), (query, "query")) if schema is not None
    ]

    @functools.wraps(view)
    def loading(*args: Any, **kwargs: Any) -> Any:
        request = asked()
        if glance is not None and glance(seen := _PARSER.load_json(request, None)):
            return view(*args, seen, **kwargs)
        loaded = [_PARSER.parse(schema, request, location=location) for schema, location in wanted]
        return view(*args, *loaded, **kwargs)

    return loading if wanted else view


def _answering(view: View, answer: type[Schema] | Schema | None, status: int, caching: str | None) -> View:
    """Return the view with its value, beside which headers may stand, made an answer.

    With `caching` it is that of a read: tagged, not sent again to a caller who has it.
    """
    dump = None if answer is None else compiled(answer)

    @functools.wraps(view)
    def answering(*args: Any, **kwargs: Any) -> Response:
        found = view(*args, **kwargs)
        if isinstance(found, Response):
            return found
        value, headers = found if isinstance(found, tuple) else (found, {})
        if dump is None:
            made = Response(status=status)
        else:
            document = _ENCODER.encode(dump(value))
            if caching is not None:
                return shown(document, caching, headers)
            made = Answer(document, status=status, content_type="application/json")
        made.headers.update(headers)
        return made

    return answering


def _parameters(reads: bool, creates: bool, changes: bool) -> list[dict[str, Any] | str]:
    """Return the headers of a request that mean something to the route, common ones by name."""
    if reads:
        return list(common_parameters())
    return [*([IDEMPOTENCY_KEY] if creates else []), *([IF_MATCH] if changes else [])]


def _headers(guard: Access, reads: bool, creates: bool, tagged: bool) -> dict[str, Any]:
    """Return the headers of the usual answer, as the OpenAPI document describes them."""
    if reads:
        return {**_READ_HEADERS, **_REQUEST_ID_HEADER}
    return {
        **(_ETAG_HEADER if tagged else {}),
        **(_CREATED_HEADERS if creates else {}),
        **({} if guard.public else CONSISTENCY_ANSWER),
        **_REQUEST_ID_HEADER,
    }


def _references(
    statuses: set[int], also: Mapping[int, type[Schema]], reads: bool
) -> dict[int, dict[str, Any]]:
    """Return how the OpenAPI document describes the errors, the answers besides the usual one."""
    # Not by `alt_response`: each one would be one more call on every request.
    found: dict[int, dict[str, Any]] = {
        code: {"$ref": f"#/components/responses/Problem{code}"} for code in sorted(statuses)
    }
    for code, schema in also.items():
        found[code] = {
            "description": http.HTTPStatus(code).phrase,
            "headers": _REQUEST_ID_HEADER,
            "content": {"application/json": {"schema": schema}},
        }
    return {304: {"$ref": "#/components/responses/NotModified"}, **found} if reads else found


def _security(guard: Access) -> list[dict[str, list[str]]]:
    return [] if guard.public else [{"bearer": []}]


def _statuses(
    guard: Access, path: str, body: object, query: object, creates: bool, changes: bool
) -> set[int]:
    """Return the error statuses that follow from what a route takes."""
    return {
        *(400, 500, 503),
        *({401, 429} if not guard.public else ()),
        *({403} if guard.permission else ()),
        *({404} if "<" in path else ()),
        *({413, 415, 422} if body is not None else ()),
        *({422} if query is not None else ()),
        *({409, 422} if creates else ()),
        *({412, 428} if changes else ()),
    }


def _guarded(view: View, guard: Access, largest_body: int) -> View:
    """Return the view behind its guard: no body is read for a caller who may not call."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        asked().max_content_length = largest_body
        if not guard.public:
            caller = identify()
            parts().limits.check(caller.tenant_id)
            if guard.permission:
                authorize(caller, guard.permission)
        return view(*args, **kwargs)

    return guarded
