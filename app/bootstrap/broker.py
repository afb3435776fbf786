"""The wiring of looks into the broker, whichever it is."""

from __future__ import annotations

import time
from functools import partial

from app.db import workers
from app.db.engine import Database
from app.messaging.amqp_probe import AmqpBrokerView, amqp_reader
from app.messaging.broker_epoch import BrokerLink, EpochReader, redis_reader
from app.messaging.broker_view import RedisBrokerView
from app.services.ports import BrokerLook
from app.settings import Settings

PROBE_TIMEOUT_S = 0.5


def build_link(settings: Settings) -> BrokerLink:
    """Return the link to the broker, by which sending knows whether it is there."""
    return BrokerLink(build_epoch_reader(settings), time.monotonic)


def build_epoch_reader(settings: Settings) -> EpochReader:
    """Return what asks the broker for its epoch."""
    if settings.broker_url.startswith("redis"):
        return redis_reader(settings.broker_url, PROBE_TIMEOUT_S)
    return amqp_reader(settings.broker_url, PROBE_TIMEOUT_S)


def build_look(settings: Settings, link: BrokerLink, system: Database) -> BrokerLook:
    """Return what looks into the broker's queues."""
    if settings.broker_url.startswith("redis"):
        return RedisBrokerView(settings.broker_url, link, time.time, PROBE_TIMEOUT_S)
    busy = partial(workers.busy_queues, system)
    return AmqpBrokerView(settings.broker_url, link, PROBE_TIMEOUT_S, busy)
