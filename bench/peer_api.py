"""The HTTP front that a team would put before bare Celery: one route submits a chain, one reads its state."""

from __future__ import annotations

from typing import Any

from celery import chain
from flask import Flask, request

from bench.peer import noop, peer

app = Flask("bench_peer_api")


@app.post("/submit")
def submit() -> tuple[dict[str, Any], int]:
    """Send a chain of 5."""
    request.get_json()
    return {"id": chain(*(noop.si(n=n) for n in range(5))).apply_async().id}, 202


@app.get("/runs/<task_id>")
def read(task_id: str) -> dict[str, Any]:
    """Tell the state of a chain by its last task."""
    return {"id": task_id, "state": peer.AsyncResult(task_id).state}
