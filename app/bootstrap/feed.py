"""The wiring of the live feed."""

from __future__ import annotations

from app.bootstrap.stores import build_database, build_flags, build_platform
from app.db.feed import PostgresOutlook
from app.feed.application import FeedParts
from app.feed.stream import StreamRules
from app.observability.logging import configure_logging
from app.security.keys import signing_keys
from app.services.live_feed import FeedRules, LiveFeed
from app.services.standing import Standings
from app.settings import Settings


def build_feed(settings: Settings) -> FeedParts:
    """Return what the live feed's process is wired with."""
    configure_logging(settings.log_level, settings.log_format, process="feed")
    database = build_database(settings)
    feed = LiveFeed(
        PostgresOutlook(database, build_platform(settings)),
        FeedRules(streams=settings.feed_streams, tenant_streams=settings.feed_tenant_streams),
    )
    return FeedParts(
        feed,
        signing_keys(settings.jwt_private_key),
        Standings(database),
        build_flags(database),
        StreamRules(),
        lambda: database.call("SELECT 1"),
    )
