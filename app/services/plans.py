"""The plans of this process, kept by their hash because a plan never changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from uuid import UUID

from app.db import plans as plan_store
from app.db.engine import Connection
from app.domain.errors import NotFound
from app.observability.metrics import CacheLooks
from workflows.plan import Plan, load_plan

KEPT = 256
REGISTERED = 10_000

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The `limit` values used last, for what never changes; `name` is that of the cache in the metrics."""

    def __init__(self, name: str, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()
        self._looks = CacheLooks(name)

    def peek(self, key: K) -> V | None:
        """Return the value if it is kept."""
        with self._lock:
            found = self._kept.get(key)
        self._looks.count(hit=found is not None)
        return found

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of `key`; `make` is called outside the lock when it is not kept."""
        with self._lock:
            found = key in self._kept
            if found:
                self._kept.move_to_end(key)
                value = self._kept[key]
        self._looks.count(hit=found)
        if not found:
            value = make()
            self.keep(key, value)
        return value

    def keep(self, key: K, value: V) -> None:
        """Keep a value, for that which was used least lately."""
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)


class PlanCache:
    """Plans by hash, read from the tenant's rows when they are not kept."""

    def __init__(self) -> None:
        self._plans: Recent[str, Plan] = Recent("plans", KEPT)
        self._registered: Recent[tuple[UUID, str], bool] = Recent("registered_plans", REGISTERED)

    def get(self, connection: Connection, tenant_id: UUID, plan_hash: str) -> Plan:
        """Return the plan; raises NotFound when the tenant has none of this hash."""
        return self._plans.get(plan_hash, lambda: _read(connection, tenant_id, plan_hash))

    def is_registered(self, tenant_id: UUID, plan_hash: str) -> bool:
        """Tell whether the tenant is known to have the plan's rows: rows of plans are never removed."""
        return self._registered.peek((tenant_id, plan_hash)) is not None

    def note_registered(self, tenant_id: UUID, plan_hash: str) -> None:
        """Note that the tenant has the plan's rows, after the commit that wrote them."""
        self._registered.keep((tenant_id, plan_hash), True)

    def peek(self, plan_hash: str) -> Plan | None:
        """Return the plan if it is kept here."""
        return self._plans.peek(plan_hash)

    def keep(self, plan: Plan) -> None:
        """Keep a plan that was compiled here."""
        self._plans.keep(plan.hash, plan)


def _read(connection: Connection, tenant_id: UUID, plan_hash: str) -> Plan:
    document = plan_store.document(connection, tenant_id, plan_hash)
    if document is None:
        raise NotFound(f"no plan {plan_hash}")
    return load_plan(document, plan_hash)
