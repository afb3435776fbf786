"""What a consumer does with each event: handled once, tried again, parked at last."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.domain.errors import Unavailable
from app.observability.logging import get_log

log = get_log(__name__)

CloudEvent = Mapping[str, Any]
Handler = Callable[[Any, CloudEvent], None]


class Stopped(Exception):
    """The consumer ends while an event is not handled yet: it must not be checkpointed."""


class Inbox(Protocol):
    """Where handled events are noted, in the transaction that handles them; every call raises Unavailable."""

    def once(self, event: CloudEvent, handle: Handler) -> bool:
        """Handle the event, unless it was; return whether it was handled now."""

    def park(self, event: CloudEvent, fault: str) -> None:
        """Note that the event was given up, why, with its content."""

    def prune(self, older_s: float) -> int:
        """Forget handled events noted longer ago than so many seconds; return how many."""


@dataclass(frozen=True, slots=True)
class HandlingRules:
    """Seconds, but for `attempts` of one event before it is parked.

    `keep_s` is how long handled events are remembered: longer than any repeat can come late. The outbox
    delivers nothing again that is older than a week.
    """

    attempts: int = 5
    pause_least_s: float = 0.1
    pause_most_s: float = 10.0
    keep_s: float = 14 * 86_400
    prune_every_s: float = 3600.0


@dataclass(slots=True)
class Handling:
    """Takes events one after the other, whichever sink they come from.

    `fits` leaves out what the handler does not want; `stop` ends every wait; `clock` counts seconds.
    """

    inbox: Inbox
    handle: Handler
    stop: threading.Event
    clock: Callable[[], float]
    rules: HandlingRules = HandlingRules()
    fits: Callable[[CloudEvent], bool] = lambda _: True
    counts: Counter[str] = field(default_factory=Counter)
    """How many events were handled, repeated, parked, passed over."""
    _prune_at: float = float("-inf")

    def take(self, event: CloudEvent) -> None:
        """Return when the event is handled, was handled before, or is parked. Raises Stopped.

        While the inbox's database is away the event waits; that is not counted against it.
        """
        if not self.fits(event):
            self.counts["passed"] += 1
            return
        failures = waits = 0
        while True:
            try:
                fresh = self.inbox.once(event, self.handle)
            except Unavailable as away:
                waits += 1
                log.warning("consumer_waits", part=away.part, waits=waits)
                self._rest(waits)
            except Exception as fault:
                failures += 1
                log.warning("event_not_handled", event_id=event["id"], attempt=failures, exc_info=True)
                if failures >= self.rules.attempts and self._parked(event, fault):
                    return
                self._rest(failures)
            else:
                self.counts["handled" if fresh else "repeated"] += 1
                return

    def tidy(self) -> None:
        """Forget old events when it is time to; for moments without work."""
        if self.clock() < self._prune_at:
            return
        self._prune_at = self.clock() + self.rules.prune_every_s
        try:
            self.inbox.prune(self.rules.keep_s)
        except Unavailable as away:
            log.warning("consumer_waits", part=away.part)

    def _parked(self, event: CloudEvent, fault: Exception) -> bool:
        try:
            self.inbox.park(event, f"{type(fault).__name__}: {fault}")
        except Unavailable:
            return False
        self.counts["parked"] += 1
        log.error("event_parked", event_id=event["id"], subject=event.get("subject"))
        return True

    def _rest(self, times: int) -> None:
        pause = min(self.rules.pause_least_s * 2 ** min(times - 1, 30), self.rules.pause_most_s)
        if self.stop.wait(pause):
            raise Stopped


def parsed(body: bytes | str, place: str) -> CloudEvent:
    """Return the envelope; what is none comes as an event of type `unreadable` named by its place."""
    try:
        event = json.loads(body)
        if isinstance(event, dict) and "source" in event and "id" in event:
            return event
    except ValueError:
        pass  # told below: somebody else writes there too
    return {"source": "unreadable", "id": place, "type": "unreadable", "data": repr(body)[:1000]}
