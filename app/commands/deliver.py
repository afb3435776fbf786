"""The process that delivers webhooks."""

from __future__ import annotations

import signal

import click

from app.bootstrap.deliveries import build_deliverer, build_wakeups
from app.bootstrap.presence import build_attendance
from app.bootstrap.pulse import build_pulse
from app.commands.exits import told
from app.observability.logging import configure_logging
from app.settings import inherited_environment, load_settings


@click.command()
@told
def deliver() -> None:
    """Deliver events to webhooks until SIGTERM; any number of these processes may run."""
    settings = load_settings(inherited_environment())
    configure_logging(settings.log_level, settings.log_format, process="webhooks")
    build_attendance(settings, "webhooks").start()
    wakeups = build_wakeups(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wakeups.stop())
    wakeups.start()
    build_pulse(settings, "webhooks").start()
    build_deliverer(settings).run(wakeups.waiter())
