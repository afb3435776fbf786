"""The wiring of what carries events out: relays with their sinks, webhooks."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from app.bootstrap.stores import build_box, build_database, build_flags, build_platform
from app.bootstrap.traces import trace_as
from app.db.ids import new_id
from app.db.relay import PostgresOutbox
from app.db.wakeups import Wakeups
from app.db.webhook_work import PostgresWebhooks
from app.domain.webhooks import DEFAULT_RULES, DeliveryRules
from app.messaging.rabbit_topic import RabbitTopic
from app.messaging.streams import RedisStreams, StreamLimits, connect_streams
from app.messaging.webhook_post import Line, Watchdog
from app.services.deliver_webhooks import Deliverer
from app.services.relay import Relay, RelayRules, Sink
from app.services.webhook_attempt import Attempts
from app.settings import Settings


def build_relays(settings: Settings, names: Sequence[str] = ()) -> tuple[Relay, ...]:
    """Return a relay for each configured sink, or those of `names`: each delivers the outbox by itself."""
    trace_as(settings, "relay")
    outbox = PostgresOutbox(build_platform(settings))
    owner = f"relay-{new_id()}"
    rules = RelayRules(memory_s=StreamLimits().age_s)
    return tuple(
        Relay(outbox, build_sink(settings, name), owner, rules, time.monotonic, lambda: datetime.now(UTC))
        for name in names or settings.sinks.names
    )


def build_sink(settings: Settings, name: str) -> Sink:
    """Return the sink of that name; it connects when it is used."""
    sinks = settings.sinks
    if name == "rabbitmq":
        return RabbitTopic(sinks.amqp_url, sinks.exchange, sinks.event_bytes)
    if name == "eventhubs":
        # Of the extra `[azure]`: whoever has no event hub needs none of it.
        from app.messaging.event_hub import EventHub  # noqa: PLC0415 - as above

        return EventHub(sinks.hub, sinks.hub_name, sinks.event_bytes)
    return RedisStreams(connect_streams(settings.redis_url), StreamLimits(event_bytes=sinks.event_bytes))


def build_wakeups(settings: Settings) -> Wakeups:
    """Return what wakes the waits of this process, unless the settings leave them to polling."""
    return Wakeups(settings.database_direct_url if settings.sinks.wakeups else "")


def build_deliverer(settings: Settings, rules: DeliveryRules = DEFAULT_RULES) -> Deliverer:
    """Return one process that delivers webhooks: it leases as the system role, reads secrets as a tenant."""
    trace_as(settings, "webhooks")
    attempts = Attempts(
        settings.allowed_http_targets, rules.timeout_s, time.monotonic, lambda: datetime.now(UTC)
    )
    database = build_database(settings)
    return Deliverer(
        PostgresWebhooks(build_platform(settings)),
        database,
        build_box(settings),
        attempts,
        partial(Line, Watchdog()),
        f"webhooks-{new_id()}",
        rules,
        random.random,
        time.monotonic,
        build_flags(database),
    )
