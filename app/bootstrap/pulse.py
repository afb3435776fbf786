"""The wiring of what a process does for its operators: log levels that it follows, figures that it tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from app.db.engine import Database
from app.db.gauges import Gauge, read_gauges, read_tenants
from app.db.pools import tell_pools
from app.observability.host import host_figures
from app.observability.logging import name_process
from app.observability.metrics import serve_metrics, share_metrics
from app.observability.process import ProcessGauges
from app.services.follow_levels import LevelFollower
from app.services.platform_gauges import SLOW_S, PlatformGauges, flag_gauges
from app.services.pulse import Care, Pulse
from app.settings import Settings

Share = Callable[[Mapping[str, str]], None]


class PulseOf(Protocol):
    """Makes the pulse of a process that is called so."""

    def __call__(self, process: str, /, *, share: Share = ..., figures: Sequence[Care] = ...) -> Pulse: ...


def build_pulse(
    settings: Settings,
    process: str,
    *,
    database: Database | None = None,
    share: Share = lambda _: None,
    figures: Sequence[Care] = (),
) -> Pulse:
    """Return the pulse of the process that is called so in logs, metrics; `figures` are told besides.

    `share` is told the log levels that hold. Without a `database` it has a connection of its own. Where
    METRICS_PORT names a port, metrics are served there.
    """
    name_process(process)
    structlog.contextvars.clear_contextvars()  # the command that started it is not what it works for
    share_metrics(settings.metrics_dir)
    if settings.metrics_port:
        serve_metrics(settings.metrics_host, settings.metrics_port)
    read = database or Database(settings.database_url, pool_size=1, overflow=0)
    follower = LevelFollower(read, time.monotonic, share)
    return Pulse((follower.look,), (ProcessGauges(process).tell, tell_pools, *figures))


def build_figures(settings: Settings, system: Database) -> Callable[[], Sequence[Gauge]]:
    """Return what reads the figures of the rows, of this host, for a scrape."""
    share_metrics(settings.metrics_dir)
    rows = PlatformGauges(partial(read_gauges, system), time.monotonic)
    tenants = partial(read_tenants, system, settings.metrics_tenants)
    slow = PlatformGauges(lambda: [*tenants(), *flag_gauges(system)], time.monotonic, SLOW_S)
    folder = settings.state_dir if settings.state_dir.is_dir() else Path("/")
    return lambda: [*rows(), *slow(), *host_figures(folder)]
