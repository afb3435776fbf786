"""The event feed: every committed event of the tenant, by position."""

from __future__ import annotations

from typing import Any

from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.trails import EventArgs, EventFeedSchema
from app.services import browse

blueprint = Blueprint("events", "What happened, as CloudEvents.")


@endpoint(blueprint, "GET /events", "events:read", EventFeedSchema, query=EventArgs)
def read_events(query: dict[str, Any]) -> dict[str, Any]:
    """Read the feed behind a position; a reader that keeps `next_cursor` misses nothing."""
    after = query.get("cursor", query["after"])
    return browse.read_events(
        parts().database, actor(), after, query["limit"], query.get("type"), query.get("subject")
    )
