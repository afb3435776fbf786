"""The relay process."""

from __future__ import annotations

import signal
import threading

import click

from app.bootstrap.deliveries import build_relays, build_wakeups
from app.bootstrap.presence import build_attendance
from app.bootstrap.pulse import build_pulse
from app.commands.exits import told
from app.observability.logging import configure_logging
from app.settings import inherited_environment, load_settings
from app.settings.sinks import SINKS


@click.command()
@click.option("--sink", "names", multiple=True, type=click.Choice(SINKS), help="Only this one; repeatable.")
@told
def relay(names: tuple[str, ...]) -> None:
    """Deliver events to each sink of EVENT_SINKS until SIGTERM; any number of relays may run.

    Each sink has a thread with leases, cursors of its own: one that is away does not hold the others.
    """
    settings = load_settings(inherited_environment())
    configure_logging(settings.log_level, settings.log_format, process="relay")
    strange = sorted(set(names) - set(settings.sinks.names))
    if strange:
        raise click.UsageError(f"not among EVENT_SINKS: {', '.join(strange)}")
    build_attendance(settings, "relay").start()
    wakeups = build_wakeups(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wakeups.stop())
    wakeups.start()
    build_pulse(settings, "relay").start()
    loops = []
    for one in build_relays(settings, names):
        waits = (wakeups.stopped, wakeups.waiter())
        loops.append(threading.Thread(target=one.run, args=waits, name=f"relay-{one.sink.name}"))
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
