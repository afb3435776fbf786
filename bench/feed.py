"""The live feed under many streams, printed: `python -m bench.feed`."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.bootstrap.stores import build_platform
from app.db.engine import Database
from app.runtime.ports import LOOPBACK
from bench.figures import load_now
from bench.stage import SHIPPED, Stage, raised

STREAMS = 500
READS = 400
EVENTS = 200
OPENED = b": connected"
_HEAD = "GET /api/v1/events/stream HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
WITHIN_S = 60.0
_EMIT = """
  SELECT emit_event(%(tenant)s, 'runs/' || gen_random_uuid(), 1, 'run.started', '{{}}', '{{}}')
  FROM generate_series(1, {events})
"""


class Streams:
    """Open streams, whose bytes are read by one thread."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.received = 0

    def open(self, stage: Stage, count: int) -> int:
        """Open streams of the measured tenant, as many as it may have; return how many there are."""
        port = urlsplit(stage.settings.feed_url).port or 80
        request = _HEAD.format(host=f"{LOOPBACK}:{port}", token=stage.token).encode()
        opened = 0
        for _ in range(count):
            connection = socket.create_connection((LOOPBACK, port), timeout=10)
            connection.sendall(request)
            answer = b""
            while OPENED not in answer and b" 429 " not in answer:
                answer += connection.recv(65_536)
            if OPENED in answer:
                connection.setblocking(False)
                self.selector.register(connection, selectors.EVENT_READ)
                opened += 1
        return opened

    def read(self, mark: bytes, until: int) -> float:
        """Count `mark` in what arrives until there are so many; return the seconds it took."""
        began, seen = time.perf_counter(), 0
        while seen < until and time.perf_counter() - began < WITHIN_S:
            for key, _ in self.selector.select(0.1):
                with suppress(BlockingIOError):
                    seen += key.fileobj.recv(1 << 20).count(mark)  # type: ignore[union-attr]  # sockets only
        self.received = seen
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """What was measured: p95 of a read of the API without and with idle streams, one burst of events."""

    alone_s: float
    beside_s: float
    streams: int
    deliveries: int
    took_s: float


def measured() -> FeedFigures:
    """Measure a read of the API with and without idle streams, then events that reach all of them."""
    with raised(SHIPPED | {"feed"}) as stage, ExitStack() as stack:
        _wait_for(stage)
        alone = _p95(stage)
        streams = Streams()
        stack.callback(streams.selector.close)
        count = streams.open(stage, STREAMS)
        beside = _p95(stage)
        tenant = stage.client.get("/me")["tenant_id"]
        database, platform = Database(stage.settings.database_url), build_platform(stage.settings)
        with database.tenant(tenant) as connection:
            connection.exec_driver_sql(_EMIT.format(events=EVENTS), {"tenant": tenant})
        platform.call("SELECT sequence_events(10000)")
        took = streams.read(b"data: ", count * EVENTS)
        return FeedFigures(alone, beside, count, streams.received, took)


def main() -> None:
    """Print the figures."""
    found = measured()
    times = f"{found.alone_s * 1000:.1f} ms alone, {found.beside_s * 1000:.1f} ms beside"
    print(f"GET /me, p95: {times} {found.streams} streams")
    print(
        f"{EVENTS} events to {found.streams} streams: {found.deliveries:,} in {found.took_s:.2f} s,"
        f" {found.deliveries / found.took_s:,.0f}/s (load {load_now()})"
    )


def _wait_for(stage: Stage) -> None:
    port = urlsplit(stage.settings.feed_url).port or 80
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the feed does not listen")


def _p95(stage: Stage) -> float:
    """Return the seconds that 95 of 100 reads took at most, one after the other."""
    client, taken = stage.client, []
    for _ in range(READS):
        began = time.perf_counter()
        client.get("/me")
        taken.append(time.perf_counter() - began)
    return sorted(taken)[int(READS * 0.95)]


if __name__ == "__main__":
    main()
