"""Orders to workers, the maintenance of the platform."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.hands import Maintenance, Order, Wanted

_COLUMNS: Final = "name, state, pool_size, reason, changed_by, version, updated_at"
_FIND: Final = text(f"SELECT {_COLUMNS} FROM worker_orders WHERE name = :name")  # noqa: S608 - constant
_KNOWN: Final = text(
    "SELECT EXISTS (SELECT 1 FROM workers WHERE hostname = :name)"
    " OR EXISTS (SELECT 1 FROM worker_orders WHERE name = :name)"
)
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('worker order ' || :name, 11))")
_SET: Final = text(
    "INSERT INTO worker_orders AS o (name, state, pool_size, reason, changed_by)"
    " VALUES (:name, :state, :size, :reason, :by) ON CONFLICT (name) DO UPDATE SET state = excluded.state,"
    " pool_size = excluded.pool_size, reason = excluded.reason, changed_by = excluded.changed_by,"
    " version = o.version + 1, updated_at = clock_timestamp()"
)
_MAINTENANCE: Final = "SELECT active, reason, since, changed_by, version FROM maintenance"
_SWITCH: Final = text(
    "UPDATE maintenance SET active = :active, reason = :reason, changed_by = :by, version = version + 1,"
    " since = CASE WHEN :active THEN coalesce(since, clock_timestamp()) END"
)
KEPT: Final = "30 days"


def wanted(system: Database, name: str) -> Wanted:
    """Return what the worker of this name is to be now; raises Unavailable."""
    return Wanted(*system.call("SELECT state, pool_size FROM order_for(%s)", (name,))[0])


def known(connection: Connection, name: str) -> bool:
    """Tell whether a worker of this name was seen of late, or has an order."""
    return bool(connection.execute(_KNOWN, {"name": name}).scalar_one())


def find(connection: Connection, name: str, *, lock: bool = False) -> Order:
    """Return the order to the workers of this name; with `lock` nobody else changes it until the commit."""
    if lock:
        connection.execute(_LOCK, {"name": name})
    row = connection.execute(_FIND, {"name": name}).first()
    return Order(*row) if row is not None else Order(name)


def give(connection: Connection, order: Order) -> Order:
    """Write the order, its version counted up."""
    connection.execute(
        _SET,
        {
            "name": order.name,
            "state": order.state,
            "size": order.pool_size,
            "reason": order.reason,
            "by": order.changed_by,
        },
    )
    return find(connection, order.name)


def take_back(connection: Connection, name: str) -> int:
    """Make ready again what the workers of this name execute; return how many steps that were."""
    return int(connection.execute(text("SELECT take_back(:name)"), {"name": name}).scalar_one())


def forget_old(system: Database) -> int:
    """Remove orders of workers not seen of late: empty ones, those a month old; return their number."""
    rows = system.call(
        "DELETE FROM worker_orders o WHERE NOT EXISTS (SELECT 1 FROM workers w WHERE w.hostname = o.name)"
        " AND (o.state = 'active' AND o.pool_size IS NULL"
        "      OR o.updated_at < clock_timestamp() - %s::interval) RETURNING 1",
        (KEPT,),
    )
    return len(rows)


def maintenance(connection: Connection, *, lock: bool = False) -> Maintenance:
    """Return the state of maintenance, its row locked when asked for."""
    row = connection.execute(text(_MAINTENANCE + (" FOR UPDATE" if lock else ""))).one()
    return Maintenance(*row)


def look_at_maintenance(database: Database) -> Maintenance:
    """Return the state of maintenance in one round trip, as either role; raises Unavailable."""
    return Maintenance(*database.call(_MAINTENANCE)[0])


def switch(connection: Connection, active: bool, reason: str, changed_by: str) -> Maintenance:
    """Turn maintenance on or off; it lasts since it was first turned on."""
    connection.execute(_SWITCH, {"active": active, "reason": reason, "by": changed_by})
    return maintenance(connection)
