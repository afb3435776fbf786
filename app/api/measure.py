"""Metrics of every request, beside one line in the log."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import Final

from flask import Flask, Response, g
from prometheus_client import Counter, Histogram

from app.api.request_context import UNWATCHED, asked
from app.observability.logging import get_log
from app.observability.metrics import API_REQUESTS, API_SECONDS

log = get_log(__name__)
_LOGGER: Final = logging.getLogger(__name__)


def measure(app: Flask) -> None:
    """Count and time the requests of `app` by route, never by path: paths have no bound."""
    app.before_request(_start)
    app.after_request(_stop)


@cache
def _metrics_of(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """Return the two children with these labels: to look them up costs more than to count."""
    return API_REQUESTS.labels(route, method, str(status)), API_SECONDS.labels(route, method)


def _start() -> None:
    g.started = time.perf_counter()


def _stop(response: Response) -> Response:
    request = asked()
    route = request.url_rule.rule if request.url_rule else "unmatched"
    # An unknown method is the client's word: it must not become a label.
    method = request.method if request.url_rule else "any"
    seconds = time.perf_counter() - g.get("started", time.perf_counter())
    requests, times = _metrics_of(route, method, response.status_code)
    requests.inc()
    times.observe(seconds)
    if route not in UNWATCHED and _LOGGER.isEnabledFor(logging.INFO):
        log.info(
            "request_answered",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round(seconds * 1000, 1),
        )
    return response
