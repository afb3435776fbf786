"""The pools of connections of one process, told as metrics."""

from __future__ import annotations

from collections import Counter

from app.db.engine import pools
from app.observability.metrics import DB_CONNECTIONS, DB_POOL_LIMIT


def tell_pools() -> None:
    """Tell for each role how many connections are used, how many idle, how many there may be."""
    used, idle, limits = Counter[str](), Counter[str](), Counter[str]()
    for pool in pools():
        used[pool.role] += pool.used
        idle[pool.role] += pool.idle
        limits[pool.role] += pool.limit
    for role in limits:
        DB_CONNECTIONS.labels(role, "used").set(used[role])
        DB_CONNECTIONS.labels(role, "idle").set(idle[role])
        DB_POOL_LIMIT.labels(role).set(limits[role])
