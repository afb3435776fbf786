"""Metrics of every request, beside one line in the log."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from app.api.request_context import UNWATCHED
from app.observability.logging import get_log
from app.observability.metrics import API_REQUESTS, API_SECONDS

log = get_log(__name__)


def measure(app: Flask) -> None:
    """Count and time the requests of `app` by route, never by path: paths have no bound."""
    app.before_request(_start)
    app.after_request(_stop)


def _start() -> None:
    g.started = time.perf_counter()


def _stop(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unmatched"
    # An unknown method is the client's word: it must not become a label.
    method = request.method if request.url_rule else "any"
    API_REQUESTS.labels(route, method, str(response.status_code)).inc()
    seconds = time.perf_counter() - g.get("started", time.perf_counter())
    API_SECONDS.labels(route, method).observe(seconds)
    if route not in UNWATCHED:
        log.info(
            "request_answered",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round(seconds * 1000, 1),
        )
    return response
