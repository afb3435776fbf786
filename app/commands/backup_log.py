"""The write-ahead log beside the backups: received by a process of its own, slots told."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from app.bootstrap.pulse import build_pulse
from app.commands.backup_places import (
    admin_of,
    folder_of,
    placed,
    programs_of,
    read_settings,
    ring_of,
    store_of,
    this_second,
)
from app.commands.exits import told
from app.db import backups as notes
from app.db.engine import Database
from app.db.slots import slots
from app.domain.errors import QuantumError
from app.observability.logging import configure_logging
from app.runtime.failure import RuntimeFailure
from app.runtime.wal_archive import WalReceiver, spool_in
from app.settings import Settings

MIB = 2**20


@click.command("receive")
@click.option(
    "--drop", is_flag=True, help="Give the server's slot up instead: it keeps no log for us any more."
)
@click.option("--if-asked", is_flag=True, help="Only with BACKUP_LOG=1; rest otherwise, as a process may.")
@placed
def receive(drop: bool, if_asked: bool, folder: Path | None, admin_url: str | None) -> None:
    """Receive the write-ahead log until SIGTERM: with a base backup it restores to any moment since."""
    settings = read_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if if_asked and not settings.backups.log:
        click.echo("BACKUP_LOG is not set: nothing to receive")
        stop.wait()
        return
    system = Database(settings.database_system_url, "system", pool_size=1, overflow=0)
    given = (
        programs_of(settings),
        admin_of(settings, admin_url),
        store_of(settings, folder),
        spool_in(folder_of(settings, folder)),
        ring_of(settings),
    )
    receiver = WalReceiver(*given, begins=lambda anew: notes.log_begins(system, this_second(), anew=anew))
    try:
        if drop:
            click.echo("the slot is given up" if receiver.drop() else "there is no slot")
            notes.log_ends(system)
            return
        _follow(settings)
        receiver.run(stop)
    except (QuantumError, OSError) as failed:
        raise RuntimeFailure(str(failed)) from failed
    finally:
        system.dispose()


@click.command("slots")
@told
def list_slots() -> None:
    """Who reads the server's write-ahead log, how much it keeps for each, how much more it may."""
    settings = read_settings()
    system = Database(settings.database_system_url, "system", pool_size=1, overflow=0)
    try:
        for slot in slots(system):
            held = "nothing" if slot.held is None else f"{slot.held / MIB:.0f} MiB"
            left = "no bound" if slot.left is None else f"{slot.left / MIB:.0f} MiB more at most"
            click.echo(f"{slot.name}  {slot.state}  keeps {held}  {left}")
    except QuantumError as away:
        raise RuntimeFailure(str(away)) from away
    finally:
        system.dispose()


def _follow(settings: Settings) -> None:
    configure_logging(settings.log_level, settings.log_format, process="receiver")
    build_pulse(settings, "receiver").start()
