"""A local HTTP server whose answers a test chooses, which remembers what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = tuple[int, dict[str, str], bytes]


@dataclass(slots=True)
class HttpTarget:
    """Where the server listens, what it answers (`reply` may be changed at any time), what it has seen."""

    port: int
    reply: Callable[[Seen], Reply]
    seen: list[Seen] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.name}"


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up: the tests make them do so."""

    def handle_error(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def http_target(
    reply: Callable[[Seen], Reply], tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[HttpTarget]:
    """Serve on a loopback port, a free one unless given, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Seen(self.command, self.path, headers, body)
            target.seen.append(request)
            status, answer_headers, content = target.reply(request)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | answer_headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = answer

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = QuietServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    target = HttpTarget(server.server_address[1], reply)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield target
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
