"""The deliverer's side of webhooks: events fanned out, queues leased, outcomes written."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from app.db.engine import Database
from app.domain.breakers import Breaker
from app.domain.events import SHARDS, Event
from app.domain.webhooks import Answer, Delivery, Verdict

SINK: Final = "webhooks"
Key = tuple[UUID, UUID]
"""A tenant with one of its webhooks."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one attempt came to."""

    delivery: Delivery
    answer: Answer
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Standing:
    """How deliveries stand: seconds that the longest overdue queue waits, how many breakers are open."""

    lag_s: float
    open_breakers: int


class PostgresWebhooks:
    """Webhooks as the system role sees them; every call is one transaction and raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prepare(self) -> None:
        """Let the outbox keep events until they are fanned out."""
        self._database.call(
            "INSERT INTO relay_cursors (sink, shard) SELECT %s, generate_series(0, %s)"
            " ON CONFLICT DO NOTHING",
            (SINK, SHARDS - 1),
        )

    def fan_out(self, limit: int) -> int:
        """Number committed events, turn at most `limit` of each shard into deliveries; return how many."""
        self._database.call("SELECT sequence_events(%s)", (limit * SHARDS,))
        return int(self._database.call("SELECT fan_out_webhooks(%s)", (limit,))[0][0])

    def claim(self, owner: str, lease_s: float, limit: int) -> dict[Key, Breaker]:
        """Lease at most `limit` queues that are due to the owner; return the breaker of each."""
        statement = (
            "SELECT tenant_id, webhook_id, breaker, failures, openings FROM claim_webhooks(%s, %s, %s)"
        )
        rows = self._database.call(statement, (owner, timedelta(seconds=lease_s), limit))
        return {(row[0], row[1]): Breaker(row[2], row[3], row[4]) for row in rows}

    def renew(self, owner: str, lease_s: float, keys: Collection[Key]) -> dict[Key, int]:
        """Renew the owner's leases of `keys`; return the versions of the webhooks it may go on to deliver."""
        statement = (
            "SELECT tenant_id, webhook_id, version FROM renew_webhooks(%s, %s, %s::uuid[], %s::uuid[])"
        )
        tenants, webhooks = [key[0] for key in keys], [key[1] for key in keys]
        rows = self._database.call(statement, (owner, timedelta(seconds=lease_s), tenants, webhooks))
        return {(row[0], row[1]): row[2] for row in rows}

    def batch(self, key: Key, busy: Collection[str], subjects: int, chain: int) -> list[list[Delivery]]:
        """Return the next deliveries, grouped by subject in their order, none of the busy subjects."""
        rows = self._database.call(
            "SELECT event_id, tenant_id, subject, seq, type, data, occurred_at, position,"
            " attempts - attempts_before, since, (SELECT e.trace FROM events e"
            " WHERE e.tenant_id = b.tenant_id AND e.subject = b.subject AND e.seq = b.seq)"
            " FROM webhook_batch(%s, %s, %s::text[], %s, %s) b",
            (*key, list(busy), subjects, chain),
        )
        chains: dict[str, list[Delivery]] = {}
        for row in rows:
            event = Event(row[0], row[1], row[2], row[3], row[4], row[5], None, row[6], row[7], row[10])
            chains.setdefault(event.subject, []).append(Delivery(event, row[8], row[9]))
        return list(chains.values())

    def finish(
        self,
        key: Key,
        owner: str,
        results: Sequence[Result],
        breaker: Breaker,
        hold_s: float,
        expire_s: float | None,
        release: bool,
    ) -> float | None:
        """Write outcomes with the breaker, give up the lease if wanted; None when it was lost before.

        Else returns for how many seconds every attempt has failed, 0 when the last one did not.
        """
        state: dict[str, Any] = {
            "state": breaker.state,
            "failures": breaker.failures,
            "openings": breaker.openings,
            "hold_s": hold_s,
            "delivered": any(result.answer.succeeded for result in results),
            "failed": any(not result.answer.succeeded for result in results),
        }
        expire = timedelta(seconds=expire_s) if expire_s is not None else None
        rows = self._database.call(
            "SELECT finish_webhooks(%s, %s, %s, %s::jsonb, %s::jsonb, %s, %s)",
            (*key, owner, json.dumps([_told(one) for one in results]), json.dumps(state), expire, release),
        )
        failing_s: float | None = rows[0][0]
        return failing_s

    def release(self, owner: str) -> None:
        """Give up all leases of the owner."""
        self._database.call(
            "UPDATE webhook_queues SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = %s",
            (owner,),
        )

    def expire(self, older_s: float, limit: int) -> int:
        """Give up deliveries that wait longer than `older_s` seconds; return how many."""
        statement = "SELECT expire_deliveries(%s, %s)"
        return int(self._database.call(statement, (timedelta(seconds=older_s), limit))[0][0])

    def standing(self) -> Standing:
        """Return how deliveries stand."""
        rows = self._database.call(
            "SELECT coalesce(extract(epoch FROM clock_timestamp() - (SELECT min(due_at) FROM webhook_queues"
            " WHERE due_at <= clock_timestamp())), 0),"
            " (SELECT count(*) FROM webhook_queues WHERE breaker <> 'closed')"
        )
        return Standing(float(rows[0][0]), int(rows[0][1]))


def _told(result: Result) -> dict[str, Any]:
    answer = result.answer
    return {
        "event_id": str(result.delivery.event.id),
        "state": result.verdict.state,
        "delay_s": result.verdict.delay_s,
        "at": answer.at.isoformat(),
        "latency_ms": round(answer.latency_s * 1000),
        "status": answer.status,
        "error": answer.error,
        "response": answer.response,
    }
