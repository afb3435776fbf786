"""The sending of one webhook request over a connection to an address that was checked before."""

from __future__ import annotations

import contextlib
import heapq
import http.client
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

from app.domain.webhooks import NoReply, Outgoing, Reply

EXCERPT_BYTES = 4096
MOST_IDLE_S = 5.0


class Watchdog:
    """Hangs up connections at their deadline: time-outs of sockets alone let a receiver drip for ever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._watched: list[tuple[float, int]] = []
        self._sockets: dict[int, socket.socket] = {}
        threading.Thread(target=self._watch, name="webhook-watchdog", daemon=True).start()

    @contextlib.contextmanager
    def watching(self, sock: socket.socket, deadline: float) -> Iterator[None]:
        """Hang up `sock` when the block has not ended at `deadline`; then raise TimeoutError."""
        number = next(self._numbers)
        with self._changed:
            self._sockets[number] = sock
            heapq.heappush(self._watched, (deadline, number))
            if self._watched[0][1] == number:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                in_time = self._sockets.pop(number, None) is not None
        # To the reader a connection hung up is an answer that ended, headers and all.
        if not in_time:
            raise TimeoutError("hung up at its deadline")

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = self._clock()
                while self._watched and (
                    self._watched[0][0] <= now or self._watched[0][1] not in self._sockets
                ):
                    late = self._sockets.pop(heapq.heappop(self._watched)[1], None)
                    if late is not None:
                        with contextlib.suppress(OSError):
                            late.shutdown(socket.SHUT_RDWR)
                self._changed.wait(self._watched[0][0] - now if self._watched else None)


class Line:
    """Connections to one endpoint that go on to be used while it answers."""

    def __init__(self, watchdog: Watchdog, clock: Callable[[], float] = time.monotonic) -> None:
        self._watchdog = watchdog
        self._clock = clock
        self._idle: list[tuple[float, tuple[str, str, int, str], http.client.HTTPConnection]] = []

    def post(self, outgoing: Outgoing, timeout_s: float) -> Reply:
        """Send a POST; return the answer, whatever its status; raises NoReply. No redirect is followed."""
        deadline = self._clock() + timeout_s
        connection = self._kept(outgoing)
        if connection is not None:
            try:
                return self._exchange(connection, outgoing, deadline)
            except (http.client.RemoteDisconnected, ConnectionError):
                # The receiver closed it while it was idle: a fresh one may do.
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise self._failed(error, deadline) from error
        connection = None
        try:
            connection = _connected(outgoing, max(deadline - self._clock(), 0.001))
            return self._exchange(connection, outgoing, deadline)
        except (OSError, http.client.HTTPException) as error:
            if connection is not None:
                connection.close()
            raise self._failed(error, deadline) from error

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop()[2].close()

    def _exchange(self, connection: http.client.HTTPConnection, outgoing: Outgoing, deadline: float) -> Reply:
        sock = connection.sock
        with self._watchdog.watching(sock, deadline):
            sock.settimeout(max(deadline - self._clock(), 0.001))
            headers = {"Host": outgoing.host_header, **outgoing.headers}
            connection.request("POST", outgoing.path, body=outgoing.body, headers=headers)
            response = connection.getresponse()
            excerpt = response.read(EXCERPT_BYTES)
        told = {name.lower(): value for name, value in response.getheaders()}
        if response.isclosed() and not response.will_close:
            self._idle.append((self._clock(), _origin(outgoing), connection))
        else:
            connection.close()
        return Reply(response.status, told, excerpt)

    def _kept(self, outgoing: Outgoing) -> http.client.HTTPConnection | None:
        while self._idle:
            try:
                since, origin, connection = self._idle.pop()
            except IndexError:
                return None  # another thread was faster
            if origin == _origin(outgoing) and self._clock() - since < MOST_IDLE_S:
                return connection
            connection.close()
        return None

    def _failed(self, error: Exception, deadline: float) -> NoReply:
        if isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError):
            return NoReply("tls_failed", f"TLS: {error}")
        if isinstance(error, TimeoutError) or self._clock() >= deadline:
            return NoReply("timed_out", "no whole answer in time")
        if isinstance(error, http.client.HTTPException):
            return NoReply("bad_answer", f"the answer is not HTTP: {type(error).__name__}")
        return NoReply("unreachable", f"not reachable: {type(error).__name__}")


def _origin(outgoing: Outgoing) -> tuple[str, str, int, str]:
    return outgoing.scheme, outgoing.address, outgoing.port, outgoing.host


def _connected(outgoing: Outgoing, timeout_s: float) -> http.client.HTTPConnection:
    """Connect to the checked address; the host is named to TLS only."""
    sock = socket.create_connection((outgoing.address, outgoing.port), timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if outgoing.scheme == "https":
            sock = _tls().wrap_socket(sock, server_hostname=outgoing.host)
    except (OSError, ValueError):
        sock.close()
        raise
    connection = http.client.HTTPConnection(outgoing.host, outgoing.port)
    connection.sock = sock
    return connection


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
