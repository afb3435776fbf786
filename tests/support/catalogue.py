"""The catalogue against what was really written: each event's data by the schema of its type."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import jsonschema_rs
import psycopg2

from app.domain.errors import NotFound
from app.services.event_catalogue import schema_of

LOOKED_AT = 20_000
SHOWN = 5
# Tests that write events by hand, to have some, leave the actor as an empty object.
_WRITTEN = "SELECT DISTINCT type, data FROM events WHERE actor IS DISTINCT FROM '{}' LIMIT %s"


@cache
def closed(type_: str) -> Any:
    """Return a validator that also minds members which the schema does not name."""
    schema = {**schema_of(type_), "additionalProperties": False}
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def fault_of(type_: str, data: Any) -> str | None:
    """Return what is wrong with an event's data; None when nothing is."""
    try:
        closed(type_).validate(data)
    except NotFound:
        return f"{type_}: not in the catalogue"
    except jsonschema_rs.ValidationError as error:
        return f"{type_} {data}: {error.message}"
    return None


def strange_events(url: str) -> list[str]:
    """Return what is wrong with the events of a database, the first of it; nothing of one that is away."""
    try:
        connection = psycopg2.connect(url)
    except psycopg2.OperationalError:
        return []
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(_WRITTEN, (LOOKED_AT,))
        found = (fault_of(type_, data) for type_, data in cursor.fetchall())
        return [fault for fault in found if fault][:SHOWN]
