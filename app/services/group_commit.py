"""Group commit: requests of one tenant that wait at the same moment are accepted by one statement."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from app.db.intake import Acceptance, Request
from app.domain.errors import Unavailable

MOST_REQUESTS: Final = 64
"""How many requests share a statement at most."""
MOST_ITEMS: Final = 8
"""A request with more items gains little from company, so it goes alone."""
PATIENCE_S: Final = 0.5
"""How long a group may be under way before those that wait form another one beside it."""

Perform = Callable[[UUID, Sequence[Request]], Sequence[Acceptance]]


class _Ticket:
    """A request in the line: `told` opens when it has its outcome, or when its thread is to lead a group."""

    __slots__ = ("alone", "error", "outcome", "request", "told")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcome: Acceptance | None = None
        self.error: BaseException | None = None
        self.alone = False
        # A bare lock, as one thread waits for it: an Event costs several times as much.
        self.told = threading.Lock()
        self.told.acquire()

    @property
    def settled(self) -> bool:
        """Whether a group that it was in has come back."""
        return self.outcome is not None or self.error is not None or self.alone

    def tell(self) -> None:
        """Wake its thread; the caller holds the lock of the lines."""
        if self.told.locked():
            self.told.release()


class _Line:
    """The requests of one tenant: `leader` goes, or is about to go, with a group; the others wait."""

    __slots__ = ("leader", "waiting")

    def __init__(self, leader: _Ticket) -> None:
        self.leader = leader
        self.waiting: list[_Ticket] = []

    def depart(self, leader: _Ticket) -> list[_Ticket]:
        """Take the leader, with those that can go with it, out of those that wait: no key goes twice."""
        self.leader = leader
        group, left, names = [leader], [], {_name(leader)}
        for ticket in self.waiting:
            if ticket is leader:
                continue
            name = _name(ticket)
            if len(group) >= MOST_REQUESTS or (name is not None and name in names):
                left.append(ticket)
            else:
                group.append(ticket)
                names.add(name)
        self.waiting = left
        return group


class GroupCommit:
    """Accepts requests through `perform`, which commits a group as a whole or nothing of it.

    Who comes while no group is under way leads one at once, so nothing is delayed on purpose. Those that come
    meanwhile wait, then one of them leads the next: the busier the database, the larger the groups.
    """

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self._lines: dict[UUID, _Line] = {}
        self._lock = threading.Lock()

    def accept(self, tenant_id: UUID, request: Request) -> Acceptance:
        """Return what became of the request, once that is committed; raises what it alone would raise.

        A failed group was rolled back, so each of its requests is then performed by itself. Only when the
        database was lost nobody knows: then each gets Unavailable, and may repeat its request with its key.
        """
        if not _sociable(request):
            return self._perform(tenant_id, [request])[0]
        mine = _Ticket(request)
        group = self._enter(tenant_id, mine)
        while group is None and not mine.settled:
            mine.told.acquire(timeout=PATIENCE_S)
            group = self._depart(tenant_id, mine)
        if group is not None:
            self._lead(tenant_id, group)
        if mine.alone:
            return self._perform(tenant_id, [request])[0]
        if mine.outcome is None:
            raise Unavailable("database", str(mine.error)) from mine.error
        return mine.outcome

    def _enter(self, tenant_id: UUID, mine: _Ticket) -> list[_Ticket] | None:
        """Join the line; return the group to lead when nobody leads."""
        with self._lock:
            line = self._lines.get(tenant_id)
            if line is None:
                self._lines[tenant_id] = _Line(mine)
                return [mine]
            line.waiting.append(mine)
            return None

    def _depart(self, tenant_id: UUID, mine: _Ticket) -> list[_Ticket] | None:
        """Return the group to lead, as one appointed or out of patience; None when a group has taken us."""
        with self._lock:
            line = self._lines.get(tenant_id)
            return line.depart(mine) if line is not None and mine in line.waiting else None

    def _lead(self, tenant_id: UUID, group: Sequence[_Ticket]) -> None:
        """Perform the group, appoint the next leader, tell each what became of it."""
        outcomes: Sequence[Acceptance | None] = [None] * len(group)
        error: BaseException = Unavailable("database", "the group was given up")
        alone = False
        try:
            outcomes = self._perform(tenant_id, [ticket.request for ticket in group])
        except Unavailable as lost:
            error = lost
        except Exception:
            if len(group) == 1:
                raise
            alone = True
        finally:
            with self._lock:
                self._appoint(tenant_id, group[0])
                for ticket, outcome in zip(group, outcomes, strict=True):
                    ticket.outcome, ticket.alone = outcome, alone
                    ticket.error = error if outcome is None else None
                    ticket.tell()

    def _appoint(self, tenant_id: UUID, leader: _Ticket) -> None:
        """Let the next one lead, unless somebody out of patience does already."""
        line = self._lines.get(tenant_id)
        if line is None or line.leader is not leader:
            return
        if line.waiting:
            line.leader = line.waiting[0]
            line.leader.tell()
        else:
            del self._lines[tenant_id]


def _name(ticket: _Ticket) -> tuple[str, str, str] | None:
    kept = ticket.request.kept
    return None if kept is None else kept.name


def _sociable(request: Request) -> bool:
    """Whether the request is small and waits for no lock but its tenant's: others need not wait with it."""
    return len(request.items) <= MOST_ITEMS and not any("concurrency" in item for item in request.items)
