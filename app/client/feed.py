"""Following the event feed: by stream as long as there is one, by pages while there is none."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from app.client.http import ApiClient, ApiProblem, ApiUnreachable

SILENCE_S: Final = 45.0
"""A stream shows a sign of life every 15 s: three missed ones, and it is dead."""
PAUSE_S: Final = 1.0
_PREFIX: Final = "io.quantum."
_PAGE: Final = 200
_UNAUTHENTICATED: Final = 401
_BUSY: Final = (429, 503)


@dataclass(slots=True)
class Follower:
    """Yields every event behind a position once; `connect` returns a client whose token is good."""

    connect: Callable[[], ApiClient]
    position: int
    types: tuple[str, ...] = ()
    """Names such as `run.failed`, families such as `run.*`; none: every type."""
    subject: str | None = None
    pause: Callable[[float], object] = time.sleep
    missed: Callable[[int, int], object] = lambda _after, _upto: None
    """Told when some events between two positions are kept no longer, so the follower cannot have them."""

    def events(self) -> Iterator[dict[str, Any]]:
        """The events as they come, without end; raises ApiProblem when the caller may not read."""
        client = self.connect()
        while True:
            try:
                yield from self._stream(client)
            except ApiUnreachable:
                yield from self._caught_up(client)
                self.pause(PAUSE_S)
            except ApiProblem as problem:
                if problem.status == _UNAUTHENTICATED:
                    client = self.connect()
                elif problem.status not in _BUSY:
                    raise
                self.pause(PAUSE_S)

    def present(self) -> Iterator[dict[str, Any]]:
        """The events that are there now; moves on behind them. Raises ApiProblem, ApiUnreachable."""
        return self._pages(self.connect())

    def _stream(self, client: ApiClient) -> Iterator[dict[str, Any]]:
        wanted = {"type": ",".join(self.types) or None, "subject": self.subject}
        place = client.call("GET", "/events/stream", params=wanted).headers["Location"]
        resumed = {"Last-Event-ID": str(self.position), "Accept": "text/event-stream"}
        data, position, special = "", self.position, ""
        for line in client.lines(place, resumed, SILENCE_S):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data = value
            elif name == "id":
                position = int(value)
            elif name == "event":
                special = value  # about the stream itself: it ends now, or begins behind a gap
            elif not line:
                if special == "gap":
                    gap = json.loads(data)
                    self.missed(int(gap["after"]), int(gap["upto"]))
                elif data and not special:
                    yield json.loads(data)
                self.position = position  # after the event was taken: a break before it repeats it
                data, special = "", ""

    def _caught_up(self, client: ApiClient) -> Iterator[dict[str, Any]]:
        """What pages tell meanwhile; nothing while the API is away as well."""
        with contextlib.suppress(ApiUnreachable):
            yield from self._pages(client)

    def _pages(self, client: ApiClient) -> Iterator[dict[str, Any]]:
        while True:
            page = client.get("/events", after=self.position, limit=_PAGE, subject=self.subject)
            if page.get("gap_upto") is not None:
                self.missed(self.position, page["gap_upto"])
            yield from (event for event in page["items"] if self._fits(event["type"]))
            self.position = page.get("next_cursor") or self.position
            if len(page["items"]) < _PAGE:
                return

    def _fits(self, name: str) -> bool:
        short = name.removeprefix(_PREFIX)
        wanted = [each.removeprefix(_PREFIX) for each in self.types]
        return not wanted or any(
            short.startswith(each[:-1]) if each.endswith(".*") else short == each for each in wanted
        )
