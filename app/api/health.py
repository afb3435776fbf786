"""Health, readiness, metrics: outside of the versioned API, without sign-in."""

from __future__ import annotations

import json

from flask import Blueprint, Response

from app.api.request_context import parts
from app.observability.metrics import CONTENT_TYPE, render_metrics

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 while the process serves."""
    return _json(200, {"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Tell each part's state: 503 when a required one is down, 200 `degraded` when another one is.

    Maintenance leaves the API ready, as it accepts work; it is told beside.
    """
    wired = parts()
    states = {}
    for name, probe in wired.probes.items():
        try:
            probe()
            states[name] = "up"
        except Exception as down:  # whatever a probe raises means that its part is down
            states[name] = f"down: {type(down).__name__}"
    held = wired.sign.look()
    told = {"maintenance": {"reason": held.reason}} if held is not None and held.active else {}
    failing = {name for name, state in states.items() if state != "up"}
    if failing & wired.required:
        return _json(503, {"status": "down", "parts": states, **told})
    return _json(200, {"status": "degraded" if failing else "ok", "parts": states, **told})


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer in Prometheus' text form."""
    return Response(render_metrics(parts().gauges()), content_type=CONTENT_TYPE)


def _json(status: int, document: object) -> Response:
    return Response(json.dumps(document), status=status, content_type="application/json")
