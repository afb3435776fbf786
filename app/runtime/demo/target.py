"""The HTTP service that tenant B's job calls: down at first, started by the demo later."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"stock": 42, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_facts: object) -> None:
        """Say nothing: the demo prints its own story."""


@contextmanager
def serving(port: int) -> Iterator[None]:
    """Answer every GET on 127.0.0.1:`port` with a small JSON document."""
    with ThreadingHTTPServer(("127.0.0.1", port), _Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
