"""The list of event types is what the SQL, the services write, what the documents tell."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs

from app.domain.events import PREFIX, Event, dataschema
from app.domain.relay import gap_marker
from app.domain.webhooks import ping
from app.services.event_catalogue import ALL_TYPES, asyncapi, schema_of
from tests.support.catalogue import fault_of

ROOT = Path(__file__).parents[2]
_SQL = re.compile(
    r"'(?:io\.quantum\.)?((?:intent|run|step|schedule|bulk|workflow|module|secret|user|tenant|trigger|webhook)\.[a-z_]+)'"
)
_CALLS = re.compile(r"(?:emit_event|wait_event)\((?:[^;]*?);", re.DOTALL)
_PYTHON = re.compile(r'"((?:workflow|module|secret|user|tenant|schedule|trigger|webhook|session)\.[a-z]+ed)"')


def written() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "migrations" / "sql").glob("*.sql"):
        for call in _CALLS.findall(file.read_text()):
            found |= set(_SQL.findall(call))
    for file in (ROOT / "app" / "services").glob("*.py"):
        found |= set(_PYTHON.findall(file.read_text()))
    return found


def test_what_is_written_is_listed_and_told() -> None:
    listed = {name.removeprefix(PREFIX) for name in ALL_TYPES}
    told = set(re.findall(r"`([a-z]+\.[a-z_]+)`", (ROOT / "docs" / "events.md").read_text()))
    assert written() - listed == set(), "written, not listed in app/domain/events.py"
    assert listed - told == set(), "listed, not told in docs/events.md"


def test_each_type_has_a_schema_and_each_schema_a_type() -> None:
    files = {file.name for file in (ROOT / "app" / "domain" / "event_schemas").glob("*.json")}
    names = {type_: dataschema(type_).removeprefix("urn:quantum:event:") for type_ in ALL_TYPES}
    assert {f"{name.replace(':', '.v')}.json" for name in names.values()} <= files
    assert {PREFIX + name.rpartition(".v")[0] for name in files} == set(ALL_TYPES)
    for type_ in ALL_TYPES:
        schema = schema_of(type_)
        assert (schema["title"], schema["$id"]) == (type_, dataschema(type_))
        assert schema["description"].endswith(".")
        assert set(schema["required"]) <= set(schema["properties"])
        jsonschema_rs.meta.validate(schema)


MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
DATA = {"run_id": str(UUID(int=1)), "intent_id": str(UUID(int=2)), "state": "running"}
STARTED = Event(UUID(int=3), UUID(int=4), "runs/1", 7, "io.quantum.run.started", DATA, None, MOMENT, 9)


def documented(name: str) -> Any:
    """Return a validator by the schema that the AsyncAPI document has for a message."""
    message = asyncapi("1")["components"]["messages"][name]["payload"]["schema"]
    return jsonschema_rs.validator_for(message, validate_formats=True)


def test_an_envelope_is_what_the_asyncapi_document_says() -> None:
    event, validator = STARTED, documented("run.started")
    validator.validate(event.cloud_event())
    assert not validator.is_valid({**event.cloud_event(), "sequence": 7})
    assert not validator.is_valid({**event.cloud_event(), "data": {}})


def test_what_is_made_on_the_way_is_told_where_it_goes() -> None:
    documented("relay.gap").validate(gap_marker(STARTED))
    columns = ping(UUID(int=5), UUID(int=4), UUID(int=6), MOMENT)
    sent = Event(
        columns["event_id"],
        UUID(int=4),
        columns["subject"],
        1,
        columns["type"],
        columns["data"],
        None,
        MOMENT,
        0,
    )
    documented("webhook.ping").validate(sent.cloud_event())
    channels = asyncapi("1")["channels"]
    gaps = {key for key, channel in channels.items() if "relay.gap" in channel["messages"]}
    pings = {key for key, channel in channels.items() if "webhook.ping" in channel["messages"]}
    assert (gaps, pings) == ({"redis", "rabbitmq", "eventhubs"}, {"webhooks"})
    assert all("run.started" in channel["messages"] for channel in channels.values())


def test_the_look_at_written_events_notices_strange_ones() -> None:
    data = {"run_id": str(UUID(int=1)), "intent_id": str(UUID(int=2)), "state": "running"}
    assert fault_of("io.quantum.run.started", data) is None
    assert fault_of("io.quantum.run.started", {**data, "spec": {}}) is not None
    assert fault_of("io.quantum.run.started", {**data, "run_id": "one"}) is not None
    assert fault_of("io.quantum.run.dreamt", data) is not None
