"""The event feed: every committed event of the tenant, by position."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.trails import EventArgs, EventFeedSchema, StreamArgs
from app.services import browse

blueprint = Blueprint("events", "What happened, as CloudEvents.")


@endpoint(blueprint, "GET /events", "events:read", EventFeedSchema, query=EventArgs)
def read_events(query: dict[str, Any]) -> dict[str, Any]:
    """Read the feed behind a position; a reader that keeps `next_cursor` misses nothing."""
    after = query.get("cursor", query["after"])
    return browse.read_events(
        parts().database, actor(), after, query["limit"], query.get("type"), query.get("subject")
    )


@endpoint(blueprint, "GET /events/stream", "events:read", None, status=307, query=StreamArgs)
def stream_events(query: dict[str, Any]) -> tuple[None, dict[str, str]]:
    """Go on to the live feed, a process of its own: server-sent events, resumed by Last-Event-ID.

    Follow the redirect with the same Authorization header. The stream ends when the access token does.
    """
    place = f"{parts().feed_url}{PREFIX}/events/stream"
    return None, {"Location": f"{place}?{urlencode(query)}" if query else place}
