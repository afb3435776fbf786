"""Load on an HTTP server by one thread over plain sockets, which takes little of its cores."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.figures import percentile

ANSWER_WITHIN_S = 30.0
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask of a server: `fresh` returns a new key for each request, empty for none."""

    base_url: str
    token: str
    method: str
    path: str
    body: bytes
    status: int
    fresh: Callable[[], str]

    def head(self) -> bytes:
        """Return the request up to its key."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {urlsplit(self.base_url).netloc}"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}", "Idempotency-Key: "]
        return "\r\n".join(lines).encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a load saw: answers a second, percentiles in milliseconds, answers in all."""

    per_second: float
    p50_ms: float
    p95_ms: float
    answered: int


class _Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.base_url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 80), ANSWER_WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._status = f"HTTP/1.1 {target.status} ".encode()
        self._received = b""
        self._wanted = 0
        self.began = 0.0

    def send(self, request: bytes, began: float) -> None:
        """Send a request that was due at `began`."""
        self._received, self._wanted, self.began = b"", 0, began
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has arrived; tell whether the answer is whole. RuntimeError for another status."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise RuntimeError("the server closed the connection")
        self._received += part
        if not self._wanted:
            head, end, _ = self._received.partition(_END_OF_HEAD)
            if not end:
                return False
            if not head.startswith(self._status):
                raise RuntimeError(f"the server answered {self._received[:300]!r}")
            lowered = head.lower()
            at = lowered.index(_LENGTH) + len(_LENGTH)
            self._wanted = len(head) + len(end) + int(lowered[at:].partition(b"\r\n")[0])
        return len(self._received) >= self._wanted


def load(target: Target, seconds: float, connections: int, rate: float | None = None) -> Seen:
    """Ask for so many seconds: as fast as it answers, or at `rate` a second with late ones counted late.

    Raises RuntimeError for an answer of another status.
    """
    head, tail = target.head(), b"\r\n\r\n" + target.body
    opened = [_Connection(target) for _ in range(connections)]
    selector, idle, taken = selectors.DefaultSelector(), list(opened), []
    for one in opened:
        selector.register(one.socket, selectors.EVENT_READ, one)
    start = time.perf_counter()
    stop, due = start + seconds, start
    try:
        while True:
            now = time.perf_counter()
            while idle and now < stop and due <= now:
                idle.pop().send(head + target.fresh().encode() + tail, due if rate else now)
                due += 1 / rate if rate else 0.0
            if now >= stop and len(idle) == connections:
                break
            if now > stop + ANSWER_WITHIN_S:
                raise RuntimeError(f"{connections - len(idle)} requests have no answer")
            pause = max(0.0, min(due, stop) - now) if idle and now < stop else 0.2
            for key, _ in selector.select(pause):
                asked: _Connection = key.data
                if asked.receive():
                    taken.append(time.perf_counter() - asked.began)
                    idle.append(asked)
    finally:
        for one in opened:
            selector.unregister(one.socket)
            one.socket.close()
    took = time.perf_counter() - start
    return Seen(len(taken) / took, percentile(taken, 0.5) * 1000, percentile(taken, 0.95) * 1000, len(taken))
