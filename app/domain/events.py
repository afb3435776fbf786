"""Events of the outbox: their types, subjects, the CloudEvents envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any
from uuid import UUID

from app.domain.tracing import TraceContext, parse_traceparent, trace_of

PREFIX = "io.quantum."
EVENT_TYPES: tuple[str, ...] = tuple(
    PREFIX + name
    for name in (
        "intent.created",
        "intent.updated",
        "run.started",
        "run.succeeded",
        "run.failed",
        "run.cancelled",
        "run.retried",
        "run.paused",
        "run.resumed",
        "run.rerun",
        "run.compensating",
        "step.compensated",
        "step.skipped",
        "step.failed",
        "step.retrying",
        "step.poisoned",
        "step.waiting",
        "run.signalled",
        "schedule.created",
        "schedule.changed",
        "schedule.deleted",
        "schedule.paused",
        "schedule.resumed",
        "schedule.fired",
        "schedule.skipped",
        "trigger.created",
        "trigger.changed",
        "trigger.paused",
        "trigger.resumed",
        "trigger.deleted",
        "trigger.fired",
        "trigger.skipped",
        "webhook.created",
        "webhook.changed",
        "webhook.disabled",
        "webhook.deleted",
        "bulk.started",
        "bulk.paused",
        "bulk.resumed",
        "bulk.cancelled",
        "bulk.finished",
        "module.registered",
        "workflow.registered",
        "secret.changed",
        "user.created",
        "user.changed",
        "tenant.created",
        "tenant.changed",
        "tenant.limits_changed",
        "session.opened",
        "session.revoked",
        "session.reused",
        "tenant.suspended",
        "tenant.resumed",
    )
)
MADE_ON_THE_WAY: tuple[str, ...] = (PREFIX + "relay.gap", PREFIX + "webhook.ping")
"""Types of envelopes that stand in for an event or test a way: the outbox holds none of them."""
SHARDS = 8
SCHEMA_VERSIONS: Mapping[str, int] = {}
"""The version of the schema of a type's data, by the name without prefix, where it is not 1."""
ENVELOPE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {
            "type": "string",
            "pattern": "^[0-9a-f-]{36}(/gap)?$",
            "description": "a UUID; of a gap marker that of the missing event, with /gap behind it",
        },
        "source": {"type": "string", "pattern": "^/tenants/[0-9a-f-]{36}$"},
        "subject": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "tenantid": {"type": "string", "format": "uuid"},
        "sequence": {"type": "string", "pattern": "^[0-9]{10}$"},
        "traceparent": {"type": "string", "description": "of a sampled run: its span"},
    },
    "required": [
        *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"),
        *("tenantid", "sequence"),
    ],
}
"""The JSON Schema of what all envelopes have in common."""


class Json(str):
    """A JSON document as text: parsed only by those who do more than pass it on."""

    __slots__ = ()


def full_name(name: str) -> str:
    """Return the type that a name with or without the prefix means."""
    return PREFIX + name.removeprefix(PREFIX)


@cache
def dataschema(type_: str) -> str:
    """Return the URI that names the schema of a type's data with its version."""
    name = type_.removeprefix(PREFIX)
    return f"urn:quantum:event:{name}:{SCHEMA_VERSIONS.get(name, 1)}"


@dataclass(frozen=True, slots=True)
class Event:
    """One numbered row of the outbox; `position` orders the feed, `sequence` orders its subject."""

    id: UUID
    tenant_id: UUID
    subject: str
    sequence: int
    type: str
    data: Any
    """The document, or its text as the database wrote it (`Json`): `members` parses that."""
    actor: Any
    time: datetime
    position: int
    trace: str | None = None
    """The W3C traceparent of what started its run, where that is sampled."""

    def span(self) -> TraceContext | None:
        """Return the span the event tells of: that of its run, or for an intent what declared it."""
        if self.trace is None:
            return None
        kind, _, name = self.subject.partition("/")
        return trace_of(self.trace, UUID(name)) if kind == "runs" else parse_traceparent(self.trace)

    def members(self) -> Any:
        """Return `data` as a document, whichever way it came."""
        return json.loads(self.data) if isinstance(self.data, Json) else self.data

    def cloud_event(self) -> dict[str, Any]:
        """The CloudEvents 1.0 envelope, with `sequence` as the specification's extension writes it."""
        span = self.span()
        return {
            **({"traceparent": span.traceparent()} if span is not None else {}),
            "specversion": "1.0",
            "id": str(self.id),
            "source": f"/tenants/{self.tenant_id}",
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "dataschema": dataschema(self.type),
            "data": self.members(),
            "tenantid": str(self.tenant_id),
            "sequence": f"{self.sequence:010d}",
        }

    def cloud_event_text(self) -> str:
        """The same envelope as JSON; data that came as text goes out as it came."""
        span, tenant = self.span(), str(self.tenant_id)
        traced = "" if span is None else f'"traceparent": "{span.traceparent()}", '
        data = self.data if isinstance(self.data, Json) else json.dumps(self.data)
        schema = dataschema(self.type)
        return (
            f'{{{traced}"specversion": "1.0", "id": "{self.id}", "source": "/tenants/{tenant}", '
            f'"type": {quoted(self.type)}, "subject": {quoted(self.subject)}, '
            f'"time": "{self.time.isoformat()}", "datacontenttype": "application/json", '
            f'"dataschema": {quoted(schema)}, "data": {data}, '
            f'"tenantid": "{tenant}", "sequence": "{self.sequence:010d}"}}'
        )
