"""The event feed: every committed event of the tenant, by position."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from app.api.etags import UNTIL_A_RELEASE
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.trails import DataSchemaSchema, EventArgs, EventFeedSchema, EventTypesSchema, StreamArgs
from app.domain.events import full_name
from app.services import browse, event_catalogue

blueprint = Blueprint("events", "What happened, as CloudEvents.")


@endpoint(blueprint, "GET /events", "events:read", EventFeedSchema, query=EventArgs)
def read_events(query: dict[str, Any]) -> dict[str, Any]:
    """Read the feed behind a position; a reader that keeps `next_cursor` misses nothing."""
    after = query.get("cursor", query["after"])
    return browse.read_events(
        source(), actor(), after, query["limit"], query.get("type"), query.get("subject")
    )


@endpoint(blueprint, "GET /events/stream", "events:read", None, status=307, query=StreamArgs)
def stream_events(query: dict[str, Any]) -> tuple[None, dict[str, str]]:
    """Go on to the live feed, a process of its own: server-sent events, resumed by Last-Event-ID.

    Follow the redirect with the same Authorization header. The stream ends when the access token does.
    """
    place = f"{parts().feed_url}{PREFIX}/events/stream"
    return None, {"Location": f"{place}?{urlencode(query)}" if query else place}


@endpoint(blueprint, "GET /events/schemas", "events:read", EventTypesSchema, caching=UNTIL_A_RELEASE)
def list_event_types() -> dict[str, Any]:
    """List every type of event with the name of its schema."""
    return {"items": event_catalogue.list_types()}


@endpoint(
    blueprint,
    "GET /events/schemas/<dotted:name>",
    "events:read",
    DataSchemaSchema,
    caching=UNTIL_A_RELEASE,
)
def show_event_type(name: str) -> dict[str, Any]:
    """Show the JSON Schema of a type's data; `io.quantum.` may be left out."""
    schema = event_catalogue.schema_of(full_name(name))
    return {"type": schema["title"], "dataschema": schema["$id"], "schema": schema}
