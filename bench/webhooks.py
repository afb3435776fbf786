"""The fan-out of webhooks over loopback, printed: `python -m bench.webhooks`."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from app.db.engine import Database
from app.db.ids import new_id
from app.domain.identity import Actor
from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.manage_webhooks import WebhookDeps, create_webhook
from tests.support.database import cloned_database
from tests.support.http_target import HttpTarget, http_target
from tests.support.processes import OsProcess
from tests.support.servers import DatabaseUrls, postgres_cluster
from tests.support.waiting import eventually

WEBHOOKS = 10
EVENTS = 400
SUBJECTS = 40
PROCESSES = 1
THREADS = 16

_EMIT = """
  SELECT emit_event(%s, 'runs/' || mod(n, %s), n / %s + 1, 'run.started', '{"run_id": "x"}', '{}')
  FROM generate_series(0, %s) n
"""


def main() -> None:
    """Measure deliveries a second of one process, beside bare POSTs to the same receiver."""
    with (
        postgres_cluster() as cluster,
        cloned_database(cluster) as urls,
        http_target(lambda _: (200, {}, b"")) as target,
        tempfile.TemporaryDirectory() as folder,
    ):
        bare = _bare(target, WEBHOOKS * EVENTS)
        target.seen.clear()
        ours = _ours(urls, target, Path(folder))
    print(
        f"{WEBHOOKS} webhooks, {EVENTS} events of {SUBJECTS} subjects, load {os.getloadavg()[0]:.1f}:"
        f" {ours:,.0f} deliveries/s by {PROCESSES} process; bare signed-less POSTs by {THREADS} threads:"
        f" {bare:,.0f}/s; ratio {ours / bare:.2f}"
    )


def _ours(urls: DatabaseUrls, target: HttpTarget, folder: Path) -> float:
    """Return deliveries a second, fan-out and log of each included, from a full outbox to the last one."""
    kek = secrets.token_bytes(32)
    (folder / "keys").mkdir()
    (folder / "keys" / "secrets.key").write_bytes(kek)
    app, system = Database(urls.app), Database(urls.system, "system")
    tenant = new_id()
    system.call(
        "INSERT INTO tenants (id, slug, name) VALUES (%s, %s, 'T')", (tenant, f"t-{uuid4().hex[:20]}")
    )
    actor = Actor(tenant, "t", None, "bench", frozenset(), "bench")
    deps = WebhookDeps(app, SecretBox(KeyRing((kek,))), new_id, (target.name,))
    for number in range(WEBHOOKS):
        wanted = {"name": f"w{number}", "url": f"{target.url}/{number}", "types": ["run.*"], "labels": {}}
        create_webhook(deps, actor, wanted)
    with app.tenant(tenant) as connection:
        connection.exec_driver_sql(_EMIT, (tenant, SUBJECTS, SUBJECTS, EVENTS - 1))
    environ = {
        "ENVIRONMENT": "test",
        "QUANTUM_STATE_DIR": str(folder),
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "QUANTUM_ALLOWED_HTTP_TARGETS": target.name,
        **urls.environment(),
    }
    running = [
        OsProcess(["quantum", "deliver"], log=folder / f"{n}.log", environ=environ) for n in range(PROCESSES)
    ]
    for process in running:
        process.start()
    try:
        eventually(lambda: target.seen, within=60, every=0.001)
        began = time.perf_counter()
        eventually(lambda: len(target.seen) >= WEBHOOKS * EVENTS, within=120, every=0.01)
        took = time.perf_counter() - began
    finally:
        for process in running:
            process.stop()
        app.dispose()
        system.dispose()
    if len({(seen.path, seen.headers["webhook-id"]) for seen in target.seen}) != WEBHOOKS * EVENTS:
        raise RuntimeError("a delivery is missing")
    return WEBHOOKS * EVENTS / took


def _bare(target: HttpTarget, count: int) -> float:
    """Return POSTs a second of kept connections that do nothing else."""
    body = json.dumps({"specversion": "1.0", "data": {"run_id": "x"}, "pad": "x" * 300}).encode()
    local = threading.local()

    def post(_: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", target.port)
        local.connection.request("POST", "/bare", body=body)
        local.connection.getresponse().read()

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(post, range(count)))
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
