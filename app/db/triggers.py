"""Triggers as their owners keep them, with the history of their firings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.named import LATEST, NOTHING, Named, Values
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor
from app.domain.triggers import Firing

_COLUMNS: Final = """
  t.id, t.name, t.source, t.types, t.filter, t.type_name AS type, t.type_version, t.spec, t.labels,
  t.priority, t.state, t.pause_reason, t.event_seq, t.version, t.created_by, t.created_at, t.updated_at,
  ARRAY(SELECT jsonb_build_object('id', s.id, 'created_at', s.created_at, 'expires_at', s.expires_at)
        FROM trigger_secrets s WHERE s.tenant_id = t.tenant_id AND s.trigger_id = t.id
          AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp()) ORDER BY s.id DESC) AS secrets
"""
_FIRING: Final = (
    "id, trigger_id, event_id, type, subject, outcome, reason, depth, intent_id, run_id, created_at"
)
CHANGEABLE: Final = (
    *("name", "source", "types", "filter", "type_name", "type_version", "spec", "labels", "priority"),
    *("state", "pause_reason"),
)
_FROM_NOW: Final = {"from_position": LATEST}
_TRIGGERS: Final = Named("triggers", "trigger", "t", {"spec": "jsonb", "labels": "jsonb", "types": "text[]"})
delete, emit = _TRIGGERS.delete, _TRIGGERS.emit

TriggerRow = dict[str, Any]


def add(connection: Connection, tenant_id: UUID, trigger_id: UUID, by: UUID | None, values: Values) -> None:
    """Add a trigger that hears what happens from now on; raises Conflict when its name is taken."""
    _TRIGGERS.add(connection, tenant_id, trigger_id, by, values, _FROM_NOW)


def change(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, values: Values, *, from_now: bool = False
) -> None:
    """Change a locked trigger; with `from_now` it hears nothing that happened before."""
    _TRIGGERS.change(connection, tenant_id, trigger_id, values, _FROM_NOW if from_now else NOTHING)


def find(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, *, locked: bool = False
) -> TriggerRow | None:
    """Return a trigger; with `locked` nobody changes or fires it before the transaction ends."""
    rows = _found(connection, tenant_id, "t.id = :id", {"id": trigger_id}, locked)
    return rows[0] if rows else None


def find_inbound(connection: Connection, tenant_id: UUID, name: str, *, locked: bool) -> TriggerRow | None:
    """Return the trigger of that name which hears messages and is active, if there is one."""
    where = "t.name = :name AND t.source = 'inbound' AND t.state = 'active'"
    rows = _found(connection, tenant_id, where, {"name": name}, locked)
    return rows[0] if rows else None


def lock(connection: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, TriggerRow]:
    """Return those of the triggers that are active, locked in the order of their ids."""
    where = "t.id = ANY (:ids) AND t.state = 'active'"
    return {
        row["id"]: row for row in _found(connection, tenant_id, where, {"ids": sorted(set(ids))}, locked=True)
    }


def page(connection: Connection, tenant_id: UUID, wanted: PageRequest, state: str | None) -> Page[TriggerRow]:
    """Return the triggers by name."""
    select = f"SELECT {_COLUMNS} FROM triggers t WHERE t.tenant_id = :tenant"  # noqa: S608 - constants
    return _TRIGGERS.page(connection, tenant_id, select, wanted, state)


def page_firings(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, wanted: PageRequest
) -> Page[Values]:
    """Return the firings, the latest first."""
    values: dict[str, Any] = {"tenant": tenant_id, "trigger": trigger_id, "limit": wanted.limit + 1}
    where = ""
    if wanted.after is not None:
        where, values["after"] = " AND id < :after", decode_cursor(wanted.after)[0]
    statement = (
        f"SELECT {_FIRING} FROM trigger_firings WHERE tenant_id = :tenant AND trigger_id = :trigger{where}"  # noqa: S608 - constants
        " ORDER BY id DESC LIMIT :limit"
    )
    rows = [dict(row) for row in connection.execute(text(statement), values).mappings()]
    found = tuple(rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1]["id"]) if len(rows) > wanted.limit else None)


def known(connection: Connection, tenant_id: UUID, trigger_id: UUID, event_id: str) -> Values | None:
    """Return what became of one event or message, if the trigger has decided it."""
    statement = (
        f"SELECT {_FIRING} FROM trigger_firings WHERE tenant_id = :tenant AND trigger_id = :trigger"  # noqa: S608 - constants
        " AND event_id = :event"
    )
    values = {"tenant": tenant_id, "trigger": trigger_id, "event": event_id}
    row = connection.execute(text(statement), values).mappings().first()
    return dict(row) if row else None


def note(connection: Connection, tenant_id: UUID, firings: Sequence[Firing]) -> None:
    """Write what locked triggers decided, with an event for each."""
    statement = "SELECT note_trigger_firings(:tenant, CAST(:firings AS jsonb))"
    told = json.dumps([firing.as_json() for firing in firings])
    connection.execute(text(statement), {"tenant": tenant_id, "firings": told})


def _found(
    connection: Connection, tenant_id: UUID, where: str, values: Values, locked: bool
) -> list[TriggerRow]:
    statement = (
        f"SELECT {_COLUMNS} FROM triggers t WHERE t.tenant_id = :tenant AND {where} ORDER BY t.id"  # noqa: S608 - constants
        + (" FOR UPDATE OF t" if locked else "")
    )
    rows = connection.execute(text(statement), {"tenant": tenant_id, **values}).mappings()
    return [dict(row) for row in rows]
