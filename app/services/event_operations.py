"""What an operator does to sinks: see them, forget one, deliver once more what is past or dead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import sinks, tenants, trail
from app.db.engine import Database
from app.db.sinks import DeadEvent, Window
from app.db.trail import Mark
from app.domain.errors import Conflict, NotFound, Unavailable
from app.domain.events import SHARDS
from app.domain.identity import PLATFORM_SLUG
from app.domain.relay import Blame, Lane, Outgoing
from app.observability.context import bound_request_id
from app.services.relay import Sink

PAGE = 500
OWN_SINKS = frozenset({"webhooks", "triggers", "usage"})
"""Readers of the outbox with commands of their own."""
TRIES = 8
PAUSE_LEAST_S, PAUSE_MOST_S = 0.1, 5.0


@dataclass
class Delivered:
    """What a replay did."""

    events: int = 0
    refused: list[tuple[UUID, str]] = field(default_factory=list)
    """The ids of events that the sink did not take again, with its reason."""


def list_sinks(system: Database) -> list[dict[str, Any]]:
    """Return how far each sink is."""
    with system.system() as connection:
        return sinks.standing(connection)


def forget_sink(system: Database, sink: str, in_use: Sequence[str], who: str) -> int:
    """Delete the cursors of a sink that is given up, so that pruning no longer waits for it; audited.

    Raises Conflict for one that the settings name, that is the platform's own, or that a relay works on;
    NotFound for one without cursors, so that a repetition changes nothing.
    """
    if sink in in_use or sink in OWN_SINKS:
        raise Conflict(f"{sink} is in use: take it out of EVENT_SINKS first")
    with system.system() as connection:
        if not sinks.known(connection, sink):
            raise NotFound(f"there is no sink {sink!r}")
        gone = sinks.forget(connection, sink)
        if not gone:
            raise Conflict(f"a relay works on {sink}: stop it, its leases end within seconds")
        _audit(connection, who, Mark("sink.forget", f"sinks/{sink}", detail={"cursors": gone}))
    return gone


def replay(
    system: Database, sink: Sink, wanted: Window, who: str, pause: Callable[[float], object]
) -> Delivered:
    """Deliver the window's events to the sink once more, with the same ids; audited before the first.

    Order within a subject is kept among them; live events go on between. Raises Unavailable when the sink
    stays away: a repetition begins anew, which costs repeats only.
    """
    with system.system() as connection:
        last = sinks.last_position(connection)
        _audit(connection, who, Mark("events.replay", f"sinks/{sink.name}", detail=_told(wanted)))
    done = Delivered()
    for page in _pages(system, wanted, last):
        _deliver(sink, page, done, pause)
    return done


def count(system: Database, wanted: Window) -> int:
    """Return how many events a replay of the window would deliver."""
    with system.system() as connection:
        last = sinks.last_position(connection)
    return sum(len(page) for page in _pages(system, wanted, last))


def list_dead(system: Database, sink: str | None, limit: int) -> tuple[DeadEvent, ...]:
    """Return dead letters, the oldest first."""
    with system.system() as connection:
        return sinks.dead(connection, sink, None, limit)


def replay_dead(
    system: Database, sink: Sink, ids: Sequence[UUID] | None, who: str, pause: Callable[[float], object]
) -> Delivered:
    """Deliver dead letters of the sink, all or those of the ids; what it takes is dead no longer. Audited.

    They come late, behind the later events of their subject: their gap marker went out in their place.
    """
    done = Delivered()
    seen: set[UUID] = set()
    while True:
        with system.system() as connection:
            letters = [
                one for one in sinks.dead(connection, sink.name, ids, PAGE) if one.event.id not in seen
            ]
        if not letters:
            return done
        seen.update(one.event.id for one in letters)
        page = [Outgoing(one.event, one.shard, False) for one in letters]
        refused = _deliver(sink, page, done, pause)
        with system.system() as connection:
            taken = [one for one in letters if one.event.id not in refused and sinks.revived(connection, one)]
            names = [str(one.event.id) for one in taken]
            if names:
                mark = Mark("events.replay_dead", f"sinks/{sink.name}", detail={"events": names})
                _audit(connection, who, mark)
        if len(letters) < PAGE:
            return done


def drop_dead(system: Database, sink: str, ids: Sequence[UUID] | None, who: str, reason: str) -> int:
    """Give dead letters up for good, all of the sink's or those of the ids; return how many. Audited by id.

    Their gap markers went out before, so a reader of the sink knows that they are missing. The sink need not
    be configured any more. A repetition finds none, and changes nothing.
    """
    total = 0
    while True:
        with system.system() as connection:
            gone = sinks.dropped(connection, sink, ids, PAGE)
            if gone:
                detail = {"events": sorted(map(str, gone)), "reason": reason}
                _audit(connection, who, Mark("events.drop_dead", f"sinks/{sink}", detail=detail))
        total += len(gone)
        if len(gone) < PAGE:
            return total


def _pages(system: Database, wanted: Window, last: int) -> Iterator[Sequence[Outgoing]]:
    """Yield the window shard by shard, so that each subject comes in order."""
    for shard in range(SHARDS):
        after = 0
        while True:
            with system.system() as connection:
                page = sinks.window(connection, wanted, shard, after, last, PAGE)
            if page:
                yield page
                after = page[-1].event.position
            if len(page) < PAGE:
                break


def _deliver(
    sink: Sink, page: Sequence[Outgoing], done: Delivered, pause: Callable[[float], object]
) -> set[UUID]:
    """Deliver what the sink takes, wait while it is away; return what it refused for good."""
    waiting: dict[Lane, list[Outgoing]] = defaultdict(list)
    for one in page:
        waiting[sink.lane(one.event)].append(one)
    refused: set[UUID] = set()
    tries = 0
    while waiting:
        moved = False
        try:
            epoch = sink.memory.look().epoch if sink.memory else ""
            receipt = sink.publish(epoch, waiting)
        except Unavailable:
            if tries >= TRIES:
                raise
        else:
            for lane, result in receipt.batches.items():
                left = waiting[lane][result.sent :]
                done.events += result.sent
                moved = moved or result.sent > 0
                if left and result.blame is not Blame.SINK:
                    refused.add(left[0].event.id)
                    done.refused.append((left[0].event.id, result.fault or "refused"))
                    left, moved = left[1:], True
                waiting[lane] = left
            waiting = defaultdict(list, {lane: left for lane, left in waiting.items() if left})
        if moved:
            tries = 0
        elif waiting:
            tries += 1
            if tries > TRIES:
                raise Unavailable(sink.name)
            pause(min(PAUSE_LEAST_S * 2**tries, PAUSE_MOST_S))
    return refused


def _audit(connection: Any, who: str, mark: Mark) -> None:
    """Leave a record in the trail of the platform's own tenant; raises NotFound without one."""
    found = tenants.resolve(connection, PLATFORM_SLUG)
    if found is None:
        raise NotFound("there is no platform tenant to audit this for: quantum tenant create --first")
    actor = {"email": who, "via": "operator's shell", "request_id": bound_request_id()}
    trail.leave(connection, found.id, actor, mark)


def _told(wanted: Window) -> dict[str, Any]:
    """Return the window as an audit record keeps it."""
    values = {
        "since": wanted.since.isoformat() if wanted.since else None,
        "until": wanted.until.isoformat() if wanted.until else None,
        "types": list(wanted.types) or None,
        "subject": wanted.subject,
        "tenant": str(wanted.tenant) if wanted.tenant else None,
    }
    return {name: value for name, value in values.items() if value is not None}
