"""Bare Celery as a user would set it up: late acknowledgement, results in Valkey, no state of its own."""

from __future__ import annotations

import time
from typing import Any

from celery import Celery

from app.settings import inherited_environment

URL_VARIABLE = "BENCH_PEER_URL"
"""Names the Valkey database of the peer; the runner sets it for the worker."""

QUEUE = "bench_peer"

peer = Celery("bench_peer")
peer.conf.update(
    broker_url=inherited_environment().get(URL_VARIABLE),
    result_backend=inherited_environment().get(URL_VARIABLE),
    task_acks_late=True,
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@peer.task(name="bench.noop")
def noop(*_results: Any, n: int = 0) -> dict[str, Any]:
    """The step of every work: it does nothing, its result is kept."""
    return {"ok": True, "n": n}


@peer.task(name="bench.wait")
def wait(seconds: float) -> dict[str, Any]:
    """A step that lasts: it waits without using a core."""
    time.sleep(seconds)
    return {"ok": True}
