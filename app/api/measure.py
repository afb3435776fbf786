"""Metrics of every request."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from app.observability.metrics import API_REQUESTS, API_SECONDS


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
    if "started" in g:
        API_SECONDS.labels(route, method).observe(time.perf_counter() - g.started)
    return response
