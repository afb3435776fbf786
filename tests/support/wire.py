"""A wire before PostgreSQL that swallows the answer to a statement which was committed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.runtime.ports import LOOPBACK

CHUNK = 65536
COMMITTED = b"Z\x00\x00\x00\x05I"
"""PostgreSQL is ready for the next query, and no transaction is open."""


@dataclass
class Cut:
    """One answer to swallow: that of the first transaction with these words in one of its statements.

    Everything is hung up on for `away_s` seconds then, as by a server that restarts.
    """

    words: bytes
    away_s: float
    struck: threading.Event = field(default_factory=threading.Event)


class Wire:
    """Passes on what clients and PostgreSQL on `port` say, until a cut strikes."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cuts: list[Cut] = []
        self._back_at = 0.0
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def url(self, url: str) -> str:
        """Return the database URL by way of this wire, unencrypted, so that statements can be read."""
        port = self._listener.getsockname()[1]
        return url.replace(f":{urlsplit(url).port}/", f":{port}/") + "?sslmode=disable&gssencmode=disable"

    @classmethod
    def before(cls, environ: Mapping[str, str]) -> Wire:
        """Return a wire before the database that these variables name."""
        port = urlsplit(environ["DATABASE_URL"]).port
        assert port is not None
        return cls(port)

    def surroundings(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of processes whose app role talks by way of this wire.

        They have stretches whichever way the suite runs: where those are, lots are dealt out too.
        """
        by_wire = self.url(environ["DATABASE_URL"])
        return {**environ, "DATABASE_URL": by_wire, "WORKER_STRETCHES": "1"}

    def cut(self, words: str, away_s: float = 0.0) -> Cut:
        """Arm a cut; `words` stand in the text of a statement, as `claim_step(`."""
        cut = Cut(words.encode(), away_s)
        with self._lock:
            self._cuts.append(cut)
        return cut

    def close(self) -> None:
        """Hang up on everybody, listen no more."""
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with suppress(OSError):  # it hung up by itself
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client):
            if time.monotonic() < self._back_at:
                return
            with socket.create_connection((LOOPBACK, self._server)) as server:
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                talk = _Talk(self, client, server)
                asking = threading.Thread(target=talk.ask, daemon=True)
                asking.start()
                talk.answer()
                for end in (client, server):
                    with suppress(OSError):  # hung up by itself
                        end.shutdown(socket.SHUT_RDWR)
                asking.join(5)
                with self._lock:
                    self._open -= {client, server}

    def asked(self, statement: bytes) -> Cut | None:
        """Return the cut that these words of a client meet, which is armed no longer."""
        with self._lock:
            for cut in self._cuts:
                if cut.words in statement:
                    self._cuts.remove(cut)
                    return cut
        return None

    def strike(self, cut: Cut) -> None:
        """Hang up on everybody for the time of the cut."""
        self._back_at = time.monotonic() + cut.away_s
        cut.struck.set()
        if cut.away_s:
            self._hang_up()


class _Talk:
    """One connection, passed on in both directions."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._client = client
        self._server = server
        self._cut: Cut | None = None

    def ask(self) -> None:
        """Pass on what the client says."""
        with suppress(OSError):  # hung up
            while said := self._client.recv(CHUNK):
                self._cut = self._cut or self._wire.asked(said)
                self._server.sendall(said)
            self._server.shutdown(socket.SHUT_WR)

    def answer(self) -> None:
        """Pass on what PostgreSQL answers, except that a commit was done which is to be cut."""
        with suppress(OSError):  # hung up
            while said := self._server.recv(CHUNK):
                if self._cut is not None and said.endswith(COMMITTED):
                    self._wire.strike(self._cut)
                    return
                self._client.sendall(said)
