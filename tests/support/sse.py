"""A reader of server-sent events over a plain socket, which sees the bytes as they are."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Mapping
from typing import Any

from app.runtime.ports import LOOPBACK

PATH = "/api/v1/events/stream"


def answers(port: int) -> bool:
    """Tell whether the feed is ready."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Listener:
    """One connection to the feed; `status` and `headers` are there once it is made."""

    def __init__(
        self, port: int, token: str, query: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), timeout=20)
        lines = [f"GET {PATH}{query} HTTP/1.1", f"Host: {LOOPBACK}:{port}"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._raw = b""
        self._text = b""
        head = self._until(b"\r\n\r\n").decode()
        first, *rest = head.split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {
            line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in rest if line
        }
        self.ended = False

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._raw:
            got = self._socket.recv(65536)
            if not got:
                raise EOFError("the server hung up")
            self._raw += got
        found, _, self._raw = self._raw.partition(mark)
        return found

    def problem(self) -> dict[str, Any]:
        """Return the document of a refused stream."""
        while len(self._raw) < int(self.headers["content-length"]):
            self._raw += self._socket.recv(65536)
        document: dict[str, Any] = json.loads(self._raw)
        return document

    def frame(self) -> dict[str, str]:
        """Return the fields of the next frame, comments under ""; {} when the stream has ended."""
        while b"\n\n" not in self._text:
            size = int(self._until(b"\r\n"), 16)
            if size == 0:
                self.ended = True
                return {}
            while len(self._raw) < size + 2:
                self._raw += self._socket.recv(65536)
            self._text, self._raw = self._text + self._raw[:size], self._raw[size + 2 :]
        block, _, self._text = self._text.partition(b"\n\n")
        pairs = (line.partition(":") for line in block.decode().split("\n"))
        return {name: value.removeprefix(" ") for name, _, value in pairs}

    def event(self) -> dict[str, Any]:
        """Return the next event's envelope, with its id as `position`; passes over signs of life."""
        while True:
            frame = self.frame()
            if not frame:
                raise EOFError("the stream ended")
            if "data" in frame:
                return {
                    **json.loads(frame["data"]),
                    "position": int(frame.get("id", 0)),
                    "name": frame.get("event"),
                }

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
