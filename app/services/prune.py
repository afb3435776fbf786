"""The retention of what grows with time: events, keys, marks of sign-ins, bulk actions, dead leases."""

from __future__ import annotations

from typing import Protocol

from app.observability.logging import get_log

log = get_log(__name__)

DAY_S = 86_400.0
KEEP_S = {
    "events": 7 * DAY_S,
    "step_results": 0.0,
    "step_logs": 14 * DAY_S,
    "step_progress": 7 * DAY_S,
    "dead_events": 30 * DAY_S,
    "idempotency_keys": 0.0,
    "sign_in_failures": DAY_S,
    "refresh_families": 7 * DAY_S,
    "bulk_action_items": 30 * DAY_S,
    "bulk_actions": 30 * DAY_S,
    "leases": DAY_S,
    "schedule_firings": 90 * DAY_S,
    "webhook_deliveries": 7 * DAY_S,
    "dead_webhook_deliveries": 30 * DAY_S,
    "trigger_firings": 90 * DAY_S,
}
BATCH = 2_000
MOST_BATCHES = 20


class Deleter(Protocol):
    """Deletes old rows."""

    def delete(self, relation: str, keep_s: float, limit: int) -> int:
        """Delete at most about `limit` rows older than `keep_s` seconds; return how many went."""


def prune(deleter: Deleter) -> dict[str, int]:
    """Delete what is older than its retention, in short transactions, a bounded number each time.

    Safe when two run at once. Returns the number of rows by relation; raises Unavailable.
    """
    gone = {relation: _prune_one(deleter, relation, keep_s) for relation, keep_s in KEEP_S.items()}
    if any(gone.values()):
        log.info("pruned", **gone)
    return gone


def _prune_one(deleter: Deleter, relation: str, keep_s: float) -> int:
    total = 0
    for _ in range(MOST_BATCHES):
        count = deleter.delete(relation, keep_s, BATCH)
        total += count
        if count < BATCH:
            break
    return total
