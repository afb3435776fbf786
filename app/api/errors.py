"""Every error as application/problem+json (RFC 9457), from one table."""

from __future__ import annotations

import http
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flask import Flask, Response, g, request
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException, InternalServerError

from app.api.bodies import Malformed
from app.api.validation import faults_of
from app.domain import errors
from app.observability.logging import get_log

PROBLEM_TYPE: Final = "application/problem+json"
_SHAPE_OF_TYPE: Final = "urn:quantum:problem:"

STATUS: Final[Mapping[type[errors.QuantumError], int]] = {
    errors.InvalidInput: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IllegalState: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}
"""The one table from the error tree to HTTP; an error outside it is a fault of ours, so 500."""

log = get_log(__name__)


class FaultSchema(Schema):
    """One fault of the input, with its place."""

    pointer = fields.String(required=True, metadata={"description": "JSON pointer (RFC 6901) into the input"})
    code = fields.String(required=True)
    message = fields.String(required=True)


class CapSchema(Schema):
    """A cap that is reached."""

    kind = fields.String(required=True, metadata={"description": "As the tenant's limits name it"})
    most = fields.Integer(required=True)
    in_use = fields.Integer(required=True)


class ProblemSchema(Schema):
    """RFC 9457 problem details."""

    type = fields.String(required=True, metadata={"description": "Stable name of the kind of problem"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    instance = fields.String(required=True)
    request_id = fields.String(required=True)
    trace_id = fields.String(required=True, metadata={"description": "Finds the spans and the log lines"})
    errors = fields.List(fields.Nested(FaultSchema))
    cap = fields.Nested(CapSchema, metadata={"description": "When the tenant may keep no more of something"})


def fault(pointer: str, code: str, message: str) -> dict[str, str]:
    """Return one fault as the document holds it."""
    return {"pointer": pointer, "code": code, "message": message}


def problem_document(
    status: int, code: str, detail: str, faults: Iterable[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """Return the document of a problem met in the present request."""
    document: dict[str, Any] = {
        "type": _SHAPE_OF_TYPE + code.replace("_", "-"),
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
        "trace_id": trace.trace_id if (trace := g.get("trace")) else "",
    }
    listed = [dict(each) for each in faults]
    return {**document, "errors": listed} if listed else document


def document_of(error: errors.QuantumError) -> dict[str, Any]:
    """Return the document of an error of the domain."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status == http.HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unmapped_error", code=error.code, error=error.message)
        return problem_document(status, "internal", "the server failed; the request id finds it in the log")
    listed = getattr(error, "faults", ())
    document = problem_document(
        status, error.code, error.message, (fault(each.pointer, each.code, each.message) for each in listed)
    )
    if isinstance(error, errors.CapReached):
        document["cap"] = {"kind": error.kind, "most": error.most, "in_use": error.in_use}
    return document


def respond(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return the document as an answer."""
    answer = Response(json.dumps(document), status=document["status"], content_type=PROBLEM_TYPE)
    answer.headers.update(headers or {})
    return answer


def register_error_handlers(app: Flask) -> None:
    """Answer each error of `app`, routing errors included, as a problem."""
    app.register_error_handler(errors.QuantumError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _crash)


def _domain_error(error: errors.QuantumError) -> Response:
    headers = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    return respond(document_of(error), headers)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if 300 <= status < 400:  # noqa: PLR2004 - redirects are HTTPExceptions for werkzeug, but no errors
        return error.get_response()  # type: ignore[return-value]  # werkzeug's sansio type, a Response at run time
    code = http.HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    detail = error.description or http.HTTPStatus(status).phrase
    faults: list[dict[str, str]] = []
    if isinstance(error, Malformed):
        code, faults = "malformed_body", [fault(error.pointer, "malformed", detail)]
    messages = (
        getattr(error, "data", {}).get("messages") if isinstance(getattr(error, "data", None), dict) else None
    )
    if messages:
        code, detail = "invalid_input", "the request does not fit its schema"
        for location, tree in messages.items():
            prefix = "" if location in ("json", "json_or_form") else f"/{location}"
            faults.extend(fault(each.pointer, each.code, each.message) for each in faults_of(tree, prefix))
    return respond(problem_document(status, code, detail, faults), _kept_headers(error))


def _kept_headers(error: HTTPException) -> dict[str, str]:
    """Return the headers that belong to the status: Allow of a 405, Retry-After of a 429."""
    return {
        name: value
        for name, value in error.get_headers(None)
        if name.lower() not in ("content-type", "content-length")
    }


def _crash(error: Exception) -> Response:
    log.error("request_crashed", path=request.path, request_id=g.get("request_id"), exc_info=error)
    crashed = InternalServerError()
    return respond(
        problem_document(crashed.code, "internal", "the server failed; the request id finds it in the log")
    )
