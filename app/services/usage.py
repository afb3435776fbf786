"""Usage: kept up with the events, rebuilt from nothing, compared with its source, shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Protocol
from uuid import UUID

from app.db import usage
from app.db.engine import Database
from app.db.usage import UsageModels
from app.domain.errors import InvalidInput
from app.domain.identity import Actor
from app.domain.usage import LONGEST_DAYS, Histogram
from app.observability.logging import get_log

log = get_log(__name__)

BATCH: Final = 500
"""Events of each shard in one transaction."""
MOST_BATCHES: Final = 20
TOP: Final = 100


class Models(Protocol):
    """The read models."""

    def prepare(self) -> None:
        """Let the outbox keep events until they are counted."""

    def follow(self, limit: int) -> int:
        """Count the next events of each shard; return how many there were."""


@dataclass(frozen=True, slots=True)
class Span:
    """Days in UTC, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise InvalidInput.at("/query/to", "range", "the last day comes before the first")
        if (self.last - self.first).days >= LONGEST_DAYS:
            raise InvalidInput.at("/query/from", "range", f"at most {LONGEST_DAYS} days")


def follow_usage(models: Models) -> int:
    """Count what has happened since, in short transactions, a bounded number each time.

    Safe when two run at once. Returns how many events there were; raises Unavailable.
    """
    models.prepare()
    total = 0
    for _ in range(MOST_BATCHES):
        seen = models.follow(BATCH)
        total += seen
        if seen < BATCH:
            break
    return total


def rebuild_usage(models: UsageModels, tenant_id: UUID | None) -> int:
    """Count the runs of one tenant, or of all, from nothing; return how many. Raises Unavailable."""
    models.prepare()
    total = 0
    for each in [tenant_id] if tenant_id is not None else models.tenants():
        runs = models.rebuild(each)
        total += runs
        log.info("usage_rebuilt", tenant_id=str(each), runs=runs)
    return total


def compare_usage(models: UsageModels, tenant_id: UUID | None) -> dict[UUID, int]:
    """Return, for each tenant whose model is not what its rows say, how much of it is not."""
    chosen = [tenant_id] if tenant_id is not None else list(models.tenants())
    found = {each: models.differences(each) for each in chosen}
    return {each: count for each, count in found.items() if count}


def show_usage(database: Database, actor: Actor, span: Span) -> list[dict[str, Any]]:
    """Return what the caller's tenant used, day by day."""
    return usage.days(database, actor.tenant_id, span.first, span.last)


def show_latencies(database: Database, actor: Actor, span: Span, measure: str) -> Mapping[str, Any]:
    """Return how long the tenant's runs waited, or took."""
    found = Histogram(usage.buckets(database, actor.tenant_id, span.first, span.last, measure))
    return {
        "measure": measure,
        "runs": found.total,
        "p50_s": found.quantile_s(0.5),
        "p95_s": found.quantile_s(0.95),
        "p99_s": found.quantile_s(0.99),
        "buckets": [{"at_most_s": bound, "runs": runs} for bound, runs in found.cumulative()],
    }


def show_top(platform: Database, span: Span) -> list[dict[str, Any]]:
    """Return the hundred tenants that used most."""
    return UsageModels(platform).top(span.first, span.last, TOP)
