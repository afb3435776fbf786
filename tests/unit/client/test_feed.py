"""A follower of the feed: streams that break, tokens that end, a feed that is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.client.feed import Follower
from app.client.http import ApiClient, ApiProblem

API = "/api/v1/events"


def event(position: int, kind: str = "run.started") -> dict[str, Any]:
    return {"id": str(position), "type": f"io.quantum.{kind}", "subject": "runs/1"}


def framed(*positions: int) -> bytes:
    return b"".join(f"id: {at}\ndata: {json.dumps(event(at))}\n\n".encode() for at in positions)


@contextmanager
def api(
    streams: list[tuple[int, bytes]], pages: list[list[int]], gaps: list[int] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """An API whose streams and pages are written down; yields its URL, then where each stream began."""
    began: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == f"{API}/stream":
                self._answer(307, b"", {"Location": f"http://{self.headers['Host']}/feed?{place.query}"})
            elif place.path == API:
                [after] = parse_qs(place.query)["after"]
                found = pages.pop(0) if pages else []
                document = {
                    "items": [event(at) for at in found],
                    "next_cursor": found[-1] if found else int(after),
                    "gap_upto": gaps.pop(0) if gaps else None,
                }
                self._answer(200, json.dumps(document).encode(), {})
            elif place.path == "/feed":
                began.append(self.headers["Last-Event-ID"])
                status, body = streams.pop(0)
                self._answer(status, body, {})
            else:
                self._answer(200, b"{}", {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            if status == 0:
                self.connection.close()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", began
        server.shutdown()


def followed(url: str, count: int, **options: Any) -> list[int]:
    follower = Follower(lambda: ApiClient(url, "t"), 4, pause=lambda _: None, **options)
    return [int(each["id"]) for each in islice(follower.events(), count)]


def test_a_stream_that_breaks_goes_on_behind_the_last_event() -> None:
    half = framed(5, 6) + b'id: 7\ndata: {"id": "7"'
    with api([(200, half), (200, framed(7, 8))], []) as (url, began):
        assert followed(url, 4) == [5, 6, 7, 8]
    assert began == ["4", "6"]


def test_a_sign_of_life_moves_on_and_an_end_is_no_event() -> None:
    quiet = framed(5) + b": alive\nid: 9\n\n" + b'event: end\ndata: {"reason": "expired"}\n\n'
    with api([(200, quiet), (200, framed(10))], []) as (url, began):
        assert followed(url, 2) == [5, 10]
    assert began == ["4", "9"]


def test_a_gap_is_told_by_the_stream_and_by_pages() -> None:
    missed: list[tuple[int, int]] = []
    gap = b'event: gap\ndata: {"after": "4", "upto": "6"}\n\n'
    with api([(200, gap + framed(7)), (0, b""), (200, framed(10))], [[9]], [8]) as (url, _):
        assert followed(url, 3, missed=lambda *span: missed.append(span)) == [7, 9, 10]
    assert missed == [(4, 6), (7, 8)]


def test_while_the_feed_is_away_pages_tell() -> None:
    with api([(0, b""), (0, b""), (200, framed(8))], [[5, 6], [7]]) as (url, began):
        assert followed(url, 4) == [5, 6, 7, 8]
    assert began == ["4", "6", "7"]


def test_pages_are_filtered_as_the_stream_is() -> None:
    with api([(0, b""), (200, framed(8))], [[5, 6]]) as (url, _):
        assert followed(url, 1, types=("step.*", "io.quantum.run.failed")) == [8]


def test_a_token_that_ended_is_renewed_and_other_refusals_are_told() -> None:
    clients: list[str] = []
    with api([(401, b"{}"), (429, b"{}"), (200, framed(5)), (403, b"{}")], []) as (url, _):

        def connect() -> ApiClient:
            clients.append("made")
            return ApiClient(url, "t")

        events = Follower(connect, 4, pause=lambda _: None).events()
        assert next(events)["id"] == "5"
        assert len(clients) == 2
        with pytest.raises(ApiProblem):
            next(events)
