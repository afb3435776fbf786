"""Load on the API: keep-alive connections that ask as fast as they are answered."""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.figures import percentile

CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """What a burst of requests saw: how many a second, the 95th percentile in milliseconds."""

    per_second: float
    p95_ms: float
    answered: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a server, the status it must be answered with; `token` empty for none."""

    base_url: str
    token: str
    method: str
    path: str
    body: bytes | None
    status: int


def burst(request: Request, seconds: float) -> Load:
    """Send the request over a few connections for so many seconds; raises RuntimeError on another status.

    The client is Python on the same cores, so it takes its share of what the server could have used.
    """
    taken: list[float] = []
    wrong: list[int] = []
    stop = time.perf_counter() + seconds

    def ask() -> None:
        parts = urlsplit(request.base_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        while (began := time.perf_counter()) < stop:
            try:
                connection.request(request.method, request.path, request.body, _headers(request.token))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                wrong.append(0)  # a broken connection counts as a wrong answer: the burst is void
                break
            taken.append(time.perf_counter() - began)
            if answer.status != request.status:
                wrong.append(answer.status)
                break
        connection.close()

    _together(ask)
    if wrong:
        raise RuntimeError(f"{request.method} {request.path} answered {wrong[0]}, not {request.status}")
    return Load(len(taken) / seconds, percentile(taken, 0.95) * 1000, len(taken))


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    }


def _together(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
