"""Bulk actions driven by hand, without a broker."""

from __future__ import annotations

import time
from typing import Any, cast
from uuid import UUID

from app.db.ids import new_id
from app.domain.bulk import BulkAction
from app.domain.identity import Actor
from app.services.admission import Admission, AdmissionRules
from app.services.bulk_actions import BulkOrder, create_bulk_action, show_bulk_action
from app.services.plans import PlanCache
from app.services.ports import Engine
from app.services.run_bulk import AtOnce, run_bulk_actions
from app.services.submit import SubmitDeps
from tests.support.spine import Spine


class NoBroker:
    """A broker that is away: what is ready stays unsent."""

    def epoch(self) -> str | None:
        return None

    def send(self, canvases: Any) -> None:
        raise AssertionError("nothing is sent while the broker is away")


class Bulk:
    """One tenant's bulk actions with whoever executes them."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        engine = Engine(spine.app, PlanCache(), NoBroker(), cast(Any, None))
        admission = Admission(engine, spine.system, AdmissionRules(10_000, 1), time.monotonic)
        self.deps = SubmitDeps(
            engine, cast(Any, None), AtOnce(engine.sender.epoch), new_id, admission, cast(Any, None)
        )

    @property
    def actor(self) -> Actor:
        return Actor(self.spine.tenant, "t", None, "ann@example.org", frozenset(), "req-9", "127.0.0.9")

    def make(self, action: str, rate: float = 400.0, **wanted: Any) -> BulkAction:
        """Make one that may do all its items in a batch."""
        limit = wanted.pop("limit", 1000)
        return create_bulk_action(
            self.deps, self.actor, BulkOrder(action, wanted, rate, limit, "because it is so")
        )

    def turn(self, owner: str = "one") -> int:
        """Do what is due now; return how many items were settled."""
        return run_bulk_actions(self.deps, self.spine.system, owner)

    def show(self, made: BulkAction) -> BulkAction:
        return show_bulk_action(self.spine.app, self.actor, made.id)

    def outcomes(self, made: BulkAction) -> list[tuple[UUID, str | None, str, str | None]]:
        """Return run, step, outcome, code of the error of each item, in order."""
        return self.spine.admin.call(
            "SELECT run_id, step_key, outcome, error ->> 'code' FROM bulk_action_items"
            " WHERE bulk_id = %s ORDER BY n",
            (made.id,),
        )

    def later(self, made: BulkAction, seconds: float) -> None:
        """Let time pass for the action: its lease, its next batch come nearer."""
        self.spine.admin.call(
            "UPDATE bulk_actions SET next_at = next_at - %s * interval '1 s',"
            " lease_until = lease_until - %s * interval '1 s' WHERE id = %s",
            (seconds, seconds, made.id),
        )

    def events(self, made: BulkAction) -> list[str]:
        rows = self.spine.admin.call(
            "SELECT type FROM events WHERE subject = %s ORDER BY seq", (f"bulk-actions/{made.id}",)
        )
        return [row[0].removeprefix("io.quantum.") for row in rows]
