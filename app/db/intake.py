"""The acceptance of requests with their answers: one statement for several, committed when it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from app.db.engine import Database
from app.db.idempotency import KEPT_FOR, Stored
from app.domain.documents import dump


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer to keep under the key of a user's request."""

    user: str
    route: str
    key: str
    answer: Stored

    @property
    def name(self) -> tuple[str, str, str]:
        """What makes the key one request's within its tenant."""
        return self.user, self.route, self.key

    def as_json(self) -> dict[str, Any]:
        """Return the members that `accept_intents` reads."""
        answer = self.answer
        return {
            "user": self.user,
            "route": self.route,
            "key": self.key,
            "request_hash": answer.request_hash,
            "status": answer.status,
            "headers": dict(answer.headers),
            "body": answer.body,
            "kept": KEPT_FOR,
        }


@dataclass(frozen=True, slots=True)
class Request:
    """What one request asks for: rows to write as `actor`, the answer to keep with them."""

    actor: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]]
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """`accepted`; `answered` before, with that answer; or `busy`: another request of the key is under way.

    `held` are the runs of which nothing is marked as sent; when `gated` some of them are to be advanced:
    that sends each step which has a place under the tenant's limit.
    """

    verdict: str
    stored: Stored | None = None
    held: frozenset[str] = frozenset()
    gated: bool = False


_ACCEPT: Final = "SELECT held::text[], others FROM accept_intents(%s, %s::jsonb, %s::jsonb)"
_ANSWER: Final = ("request_hash", "status", "headers", "body")


def accept_intents(database: Database, tenant_id: UUID, requests: Sequence[Request]) -> list[Acceptance]:
    """Write what requests of one tenant ask for, keep their answers, commit: all of it or nothing.

    A request whose key was used before gets its own verdict, which keeps none of the others out; two of one
    key must not come together. Raises Unavailable, after which it may have been committed, or not.
    """
    asked = [
        {"actor": request.actor, **({} if request.kept is None else request.kept.as_json())}
        for request in requests
    ]
    items: Sequence[Mapping[str, Any]] = (
        requests[0].items
        if len(requests) == 1
        else [{**item, "n": n} for n, request in enumerate(requests) for item in request.items]
    )
    held, others = database.call(_ACCEPT, (tenant_id, dump(asked), dump(items)))[0]
    return [
        _acceptance(request, (others or {}).get(str(n)), frozenset(held or ()))
        for n, request in enumerate(requests)
    ]


def _acceptance(request: Request, other: Mapping[str, Any] | None, held: frozenset[str | None]) -> Acceptance:
    if other is None:
        if not held:
            return Acceptance("accepted")
        gated = None in held
        runs = frozenset(item["run_id"] for item in request.items)
        return Acceptance("accepted", held=runs if gated else runs & held, gated=gated)
    answered = other["verdict"] == "answered"
    return Acceptance(other["verdict"], Stored(*(other[name] for name in _ANSWER)) if answered else None)
