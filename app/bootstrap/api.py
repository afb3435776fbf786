"""The wiring of the HTTP application."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api.limits import TenantLimits
from app.api.parts import ApiParts
from app.bootstrap.broker import PROBE_TIMEOUT_S, build_epoch_reader, build_link, build_look
from app.bootstrap.intake import build_registry, build_submit
from app.bootstrap.presence import release
from app.bootstrap.pulse import build_figures
from app.bootstrap.stores import (
    build_audit_key,
    build_box,
    build_database,
    build_flags,
    build_platform,
    build_replica,
)
from app.bootstrap.traces import trace_as
from app.db.ids import new_id
from app.observability.logging import configure_logging
from app.security.keys import signing_keys
from app.services.maintenance import MaintenanceSign
from app.services.manage_webhooks import WebhookDeps
from app.services.manage_workflows import Installed
from app.services.receive_hook import HookDeps
from app.services.standing import Standings
from app.settings import Settings
from workflows.catalog import load_catalogue


def build_api(settings: Settings) -> ApiParts:
    """Return what the HTTP application is wired with."""
    configure_logging(settings.log_level, settings.log_format, process="api")
    trace_as(settings, "api")
    database, box = build_database(settings), build_box(settings)
    submit, platform = build_submit(settings, database), build_platform(settings)
    replica = build_replica(settings, database)
    look = redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=PROBE_TIMEOUT_S,
        socket_connect_timeout=PROBE_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return ApiParts(
        database=database,
        platform=platform,
        gauges=build_figures(settings, platform),
        keys=signing_keys(settings.jwt_private_key),
        box=box,
        audit_key=build_audit_key(settings),
        installed=Installed(build_registry(settings), load_catalogue()),
        submit=submit,
        limits=TenantLimits(settings.redis_url, settings.api_rate_per_minute),
        standings=Standings(database),
        flags=build_flags(database),
        sign=MaintenanceSign(database),
        broker=build_look(settings, build_link(settings), platform),
        release=release(),
        replica=replica,
        feed_url=settings.feed_url,
        flower_url=settings.flower_url,
        webhooks=WebhookDeps(database, box, new_id, settings.allowed_http_targets),
        hooks=HookDeps(submit, database, box),
        hook_limits=TenantLimits(settings.redis_url, settings.hooks_rate_per_minute, name="hooks"),
        probes={
            "database": lambda: database.call("SELECT 1"),
            "redis": look.ping,
            "broker": build_epoch_reader(settings),
            **({"replica": replica.probe} if replica is not None else {}),
        },
    )
