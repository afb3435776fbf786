"""Relations whose rows a tenant names, such as webhooks: how those are added, changed, listed, told of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

Values = Mapping[str, Any]
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
LATEST: Final = (
    "coalesce((SELECT max(position) FROM events WHERE tenant_id = :tenant AND position IS NOT NULL), 0)"
)
"""The position of the tenant's latest event, as SQL: who begins there hears what happens from now on."""


@dataclass(frozen=True, slots=True)
class Named:
    """One such relation; the columns that a caller names are constants of its store."""

    relation: str
    noun: str
    alias: str
    """What the store's own statements call a row."""
    casts: Mapping[str, str] = field(default_factory=dict)
    """The SQL types of columns whose parameters need one; those of `jsonb` are written as JSON."""

    def add(
        self,
        connection: Connection,
        tenant_id: UUID,
        row_id: UUID,
        by: UUID | None,
        values: Values,
        computed: Mapping[str, str] = NOTHING,
    ) -> None:
        """Add a row, with columns that SQL computes; raises Conflict when its name is taken."""
        columns = ", ".join((*values, *computed))
        slots = ", ".join((*map(self._slot, values), *computed.values()))
        statement = (
            f"INSERT INTO {self.relation} (tenant_id, id, created_by, {columns})"  # noqa: S608 - our own constants
            f" VALUES (:tenant, :id, :by, {slots})"
        )
        self._write(connection, statement, {"tenant": tenant_id, "id": row_id, "by": by}, values)

    def change(
        self,
        connection: Connection,
        tenant_id: UUID,
        row_id: UUID,
        values: Values,
        computed: Mapping[str, str] = NOTHING,
    ) -> None:
        """Change a locked row into its next version; raises Conflict when its new name is taken."""
        slots = {name: self._slot(name) for name in values} | dict(computed)
        columns = [f"{name} = {slot}" for name, slot in slots.items()]
        statement = (
            f"UPDATE {self.relation} SET {', '.join(['version = version + 1', *columns])},"  # noqa: S608 - as above
            " updated_at = clock_timestamp() WHERE tenant_id = :tenant AND id = :id"
        )
        self._write(connection, statement, {"tenant": tenant_id, "id": row_id}, values)

    def delete(self, connection: Connection, tenant_id: UUID, row_id: UUID) -> None:
        """Delete a row with all that belongs to it."""
        statement = f"DELETE FROM {self.relation} WHERE tenant_id = :tenant AND id = :id"  # noqa: S608 - as above
        connection.execute(text(statement), {"tenant": tenant_id, "id": row_id})

    def page(
        self, connection: Connection, tenant_id: UUID, select: str, wanted: PageRequest, state: str | None
    ) -> Page[dict[str, Any]]:
        """Return the rows by name, those of a state; `select` ends in the condition on the tenant."""
        values: dict[str, Any] = {"tenant": tenant_id, "limit": wanted.limit + 1}
        where = ""
        if state is not None:
            where, values["state"] = f" AND {self.alias}.state = :state", state
        if wanted.after is not None:
            where += f" AND {self.alias}.name > :after"
            values["after"] = decode_cursor(wanted.after)[0]
        statement = f"{select}{where} ORDER BY {self.alias}.name LIMIT :limit"
        rows = [dict(row) for row in connection.execute(text(statement), values).mappings()]
        found = tuple(rows[: wanted.limit])
        return Page(found, encode_cursor(found[-1]["name"]) if len(rows) > wanted.limit else None)

    def emit(
        self, connection: Connection, tenant_id: UUID, row_id: UUID, kind: str, data: Values, actor: Values
    ) -> None:
        """Write an event of a row that this transaction has locked, or made; it keeps its `event_seq`."""
        statement = f"""
          WITH next AS (UPDATE {self.relation} SET event_seq = event_seq + 1
                        WHERE tenant_id = :tenant AND id = :id RETURNING event_seq)
          SELECT emit_event(:tenant, '{self.relation}/' || CAST(:id AS text), event_seq, :kind,
                            CAST(:data AS jsonb), CAST(:actor AS jsonb)) FROM next
        """  # noqa: S608 - as above
        values = {"data": json.dumps(dict(data)), "actor": json.dumps(dict(actor)), "kind": kind}
        connection.execute(text(statement), {"tenant": tenant_id, "id": row_id, **values})

    def _write(self, connection: Connection, statement: str, place: Values, values: Values) -> None:
        bound = {
            name: json.dumps(value) if self.casts.get(name) == "jsonb" else value
            for name, value in values.items()
        }
        try:
            connection.execute(text(statement), {**place, **bound})
        except IntegrityError as taken:
            raise Conflict(f"a {self.noun} of this name exists", "name_taken") from taken

    def _slot(self, name: str) -> str:
        return f"CAST(:{name} AS {self.casts[name]})" if name in self.casts else f":{name}"
