"""The marks an administrative change leaves: one event, one audit record, in its own transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened to `subject`; without `event` it is audited only."""

    action: str
    subject: str
    event: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def leave(connection: Connection, tenant_id: UUID, actor: Mapping[str, Any], mark: Mark) -> None:
    """Write the mark; the subject has no row that counts its events, so an advisory lock orders them.

    An event is numbered by the clock, in seconds, and above every number that is there: an event that was
    pruned meanwhile had a lower one, also where an older one is kept as a dead letter.
    """
    values = {
        "tenant": tenant_id,
        "subject": mark.subject,
        "action": mark.action,
        "actor": json.dumps(dict(actor)),
        "detail": json.dumps(dict(mark.detail)),
        "request_id": actor.get("request_id"),
        "source_ip": actor.get("source_ip"),
    }
    connection.execute(
        text(
            "INSERT INTO audit_records (tenant_id, actor, action, subject, detail, request_id, source_ip)"
            " VALUES (:tenant, CAST(:actor AS jsonb), :action, :subject, CAST(:detail AS jsonb),"
            " :request_id, :source_ip)"
        ),
        values,
    )
    if mark.event is None:
        return
    connection.execute(
        text(
            "SELECT pg_advisory_xact_lock("
            "hashtextextended(concat_ws('|', 'events', CAST(:tenant AS text), :subject), 7))"
        ),
        values,
    )
    connection.execute(
        text(
            "SELECT emit_event(CAST(:tenant AS uuid), :subject,"
            " (SELECT greatest(max(seq),"
            "    CAST(floor(extract(epoch FROM clock_timestamp()) - 1700000000) AS integer)) + 1 FROM events"
            "   WHERE tenant_id = :tenant AND subject = :subject),"
            " :type, CAST(:detail AS jsonb), CAST(:actor AS jsonb))"
        ),
        {**values, "type": mark.event},
    )
