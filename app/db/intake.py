"""The acceptance of intents with the answer of their request: one statement, committed when it returns."""

from __future__ import annotations

import json
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


@dataclass(frozen=True, slots=True)
class Acceptance:
    """`accepted`; `answered` before, with that answer; or `busy`: another request of the key is under way.

    `held` are the runs of which nothing is marked as sent; when `gated` some of them are to be advanced:
    that sends each step which has a place under the tenant's limit.
    """

    verdict: str
    stored: Stored | None
    held: frozenset[UUID] = frozenset()
    gated: bool = False


_ACCEPT: Final = (
    "SELECT held, gated, verdict, request_hash, status, headers, body"
    " FROM accept_intents(%s, %s::jsonb, %s::jsonb, %s, %s, %s, %s, %s, %s::jsonb, %s, %s::interval)"
)


def accept_intents(
    database: Database,
    tenant_id: UUID,
    actor: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    kept: Kept | None,
) -> Acceptance:
    """Write intents with all that belongs to them, keep the answer, commit; all of it or nothing.

    Raises Unavailable, after which it may have been committed, or not.
    """
    answer: tuple[Any, ...] = (None,) * 8
    if kept is not None:
        stored = kept.answer
        answer = (
            kept.user,
            kept.route,
            kept.key,
            stored.request_hash,
            stored.status,
            json.dumps(dict(stored.headers)),
            stored.body,
            KEPT_FOR,
        )
    parameters = (tenant_id, dump(dict(actor)), dump(list(items)), *answer)
    held, gated, verdict, *before = database.call(_ACCEPT, parameters)[0]
    found = Stored(*before) if before[0] is not None else None
    return Acceptance(verdict, found, frozenset(held or ()), bool(gated))
