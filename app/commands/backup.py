"""Backups of the database, sealed under a key that the key-encryption key gives."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import click

from app.commands.backup_log import list_slots, receive
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
from app.commands.backup_proof import ARTIFACTS, inspect
from app.db import backups as notes
from app.db.engine import Database
from app.domain.backups import Standing, is_base_due, is_due
from app.domain.errors import QuantumError
from app.runtime import backup as service
from app.runtime import backup_files as files
from app.runtime.backup_files import Backup
from app.runtime.backup_lease import BackupLease
from app.runtime.backup_store import BackupStore
from app.runtime.failure import RuntimeFailure
from app.runtime.point_in_time import base_for, create_base, recovered
from app.runtime.stages import Stages
from app.runtime.wal_archive import forget_before, spool_in
from app.security.sealed_stream import SealBroken
from app.settings import Settings
from app.settings.backups import BackupSettings

NICENESS = 10
"""A scheduled backup lets everybody else go first."""


@click.group()
def backup() -> None:
    """Back the database up, prove it, restore it."""


@backup.command("create")
@click.option("--base", is_flag=True, help="The whole server instead, to be brought to any later moment.")
@placed
def create(base: bool, folder: Path | None, admin_url: str | None) -> None:
    """Dump the database as of one snapshot, sealed, with a manifest that counts its rows."""
    settings = read_settings()
    kind, at = files.BASE if base else files.DUMP, this_second()
    made = _create(settings, admin_url, store_of(settings, folder), kind, at, files.new_name(at, kind))
    _note(settings, made)
    told = f"restores to any moment from {made.ended_at} on" if base else f"{sum(made.rows.values())} rows"
    click.echo(f"{made.name}: {made.bytes} bytes; {told}")


@backup.command("run")
@click.option("--if-due", is_flag=True, help="Only what is due: a dump since BACKUP_HOUR, a base backup.")
@placed
def run(if_due: bool, folder: Path | None, admin_url: str | None) -> None:
    """Create, verify, prune as BACKUP_KEEP and BACKUP_DAYS say; what beat starts every day.

    Where the log is received a base backup is made as well when one is due. One process at a time does this:
    where another one is at it, nothing is done.
    """
    settings = read_settings()
    os.nice(NICENESS)
    system = Database(settings.database_system_url, "system")
    lease = BackupLease(system, str(uuid4()))
    try:
        if not lease.take():
            click.echo("another process makes a backup")
            return
        with lease:
            seen = replace(notes.standing(system), under_way=False)  # the lease is ours
            kinds = _due(settings.backups, seen if if_due else replace(seen, verified=None, tried=None))
            for kind in kinds:
                _run(settings, system, lease, admin_url, store_of(settings, folder), kind)
            if not kinds:
                click.echo("a backup was made already")
    except QuantumError as away:
        raise RuntimeFailure(str(away)) from away
    finally:
        system.dispose()


def _due(wanted: BackupSettings, seen: Standing) -> list[str]:
    at = this_second()
    dump = [files.DUMP] if is_due(seen, at, wanted.hour) else []
    return dump + ([files.BASE] if is_base_due(seen, at, wanted.base_days) else [])


def _run(
    settings: Settings,
    system: Database,
    lease: BackupLease,
    admin_url: str | None,
    store: BackupStore,
    kind: str,
) -> None:
    at, kept = this_second(), settings.backups
    name = files.new_name(at, kind)
    notes.note(system, name, at, kind=kind)
    try:
        made = _create(settings, admin_url, store, kind, at, name)
        lease.check()
        _verify(settings, admin_url, store, made, ARTIFACTS[0])
    except (RuntimeFailure, QuantumError, OSError) as failure:
        notes.note(system, name, at, kind=kind, error=str(failure) or type(failure).__name__)
        raise RuntimeFailure(f"{name}: {failure}") from failure
    _note(settings, made, verified=True)
    gone = _prune(settings, store, kept.keep, kept.days)
    click.echo(f"{name} is made and verified; {len(gone)} older ones removed")


backup.add_command(receive)
backup.add_command(list_slots)


@backup.command("list")
@placed
def list_backups(folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - all commands take both
    """The whole backups, oldest first."""
    settings = read_settings()
    for made in _backups(settings, folder):
        kind = f"from {made.ended_at} on" if made.kind == files.BASE else f"{sum(made.rows.values())} rows"
        click.echo(f"{made.name}  {made.created_at}  {made.bytes} bytes  {kind}  key {made.key_id}")
    for name, key_id in files.strangers(store_of(settings, folder), ring_of(settings)).items():
        click.echo(f"{name}  cannot be read: its key {key_id} is not in SECRETS_KEY_FILE")


@backup.command("verify")
@click.argument("name", default="latest")
@click.option(
    "--artifacts",
    type=click.Choice(ARTIFACTS),
    default=ARTIFACTS[0],
    show_default=True,
    help="What to compare of the artifact store: sizes, or each content with its hash.",
)
@placed
def verify(name: str, artifacts: str, folder: Path | None, admin_url: str | None) -> None:
    """Restore NAME (the latest) into a scratch cluster; compare rows, schema, audit trail, artifacts."""
    settings = read_settings()
    made = _named(settings, folder, name)
    _verify(settings, admin_url, store_of(settings, folder), made, artifacts)
    _note(settings, made, verified=True)
    rows = f"restores: {sum(made.rows.values())} rows as counted"
    click.echo(f"{made.name} {'recovers' if made.kind == files.BASE else rows}, the audit trail holds")


@backup.command("restore")
@click.argument("name", default="latest")
@click.option("--replace", is_flag=True, help="Give up what the database holds now.")
@click.option("--disconnect", is_flag=True, help="End the connections of whoever still uses it.")
@click.option("--at", metavar="TIME", help="The moment to go back to, as 2026-11-27T14:05:00+00:00.")
@click.option(
    "--programs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --at: a server of the backup's major version, if it is not where packages put it.",
)
@placed
def restore(
    name: str,
    replace: bool,
    disconnect: bool,
    at: str | None,
    programs: Path | None,
    folder: Path | None,
    admin_url: str | None,
) -> None:
    """Restore NAME (the latest); stop the platform's processes first, their server goes on.

    With --at the database comes back as it stood then, from a base backup with the log received since.
    """
    settings = read_settings()
    place, url, ring = store_of(settings, folder), admin_of(settings, admin_url), ring_of(settings)
    moment = _moment(at) if at else None
    made = base_for(_backups(settings, folder), moment) if moment else _named(settings, folder, name)
    if moment is None and made.kind == files.BASE:
        raise RuntimeFailure(f"{made.name} is a base backup: say --at which moment")
    given = (programs_of(settings), url, place, made, ring)
    stages = Stages(lambda line: click.echo(line, err=True))
    try:
        if moment:
            service.restore_at(
                *(*given, moment, spool_in(folder_of(settings, folder)), programs),
                replace=replace,
                disconnect=disconnect,
                stages=stages,
            )
        else:
            service.restore(*given, replace=replace, disconnect=disconnect, stages=stages)
    except SealBroken as broken:
        raise RuntimeFailure(f"{made.name}: {broken}") from broken
    click.echo(f"{made.name} is restored: start the platform, runs go on from their rows")


@backup.command("prune")
@click.option(
    "--keep", type=click.IntRange(1), default=7, show_default=True, help="The latest that stay anyway."
)
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="How old the others get.")
@placed
def prune(keep: int, days: int, folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - as above
    """Remove old backups."""
    settings = read_settings()
    for name in _prune(settings, store_of(settings, folder), keep, days):
        click.echo(f"removed {name}")


def _create(
    settings: Settings, admin_url: str | None, store: BackupStore, kind: str, at: datetime, name: str
) -> Backup:
    make = create_base if kind == files.BASE else service.create
    return make(programs_of(settings), admin_of(settings, admin_url), store, ring_of(settings), at, name)


def _verify(
    settings: Settings, admin_url: str | None, store: BackupStore, made: Backup, artifacts: str
) -> None:
    """Raise `RuntimeFailure` unless the backup restores to what it should be."""
    programs, ring = programs_of(settings), ring_of(settings)

    def look(url: str) -> None:
        inspect(url, made.revision, settings, artifacts)

    try:
        if made.kind == files.BASE:
            with recovered(programs, admin_of(settings, admin_url), store, made, ring, None) as url:
                look(url)
        else:
            service.verify(programs, store, made, ring, look)
    except SealBroken as broken:
        raise RuntimeFailure(f"{made.name}: {broken}") from broken


def _note(settings: Settings, made: Backup, *, verified: bool = False) -> None:
    """Tell the platform's database, whose metric is the age of the latest verified backup, if it is there."""
    system = Database(settings.database_system_url, "system")
    begun_at, rows = datetime.fromisoformat(made.created_at), sum(made.rows.values())
    try:
        notes.note(system, made.name, begun_at, made.bytes, rows, kind=made.kind, verified=verified)
    except QuantumError as away:
        click.echo(f"not noted, the metric of its age will not know it: {away}", err=True)
    finally:
        system.dispose()


def _prune(settings: Settings, store: BackupStore, keep: int, days: int) -> list[str]:
    """Remove old backups, then the log that no base backup needs any more."""
    ring = ring_of(settings)
    gone = files.prune(store, ring, this_second(), keep, days)
    bases = [made.wal_from for made in files.backups(store, ring) if made.kind == files.BASE]
    if bases and not files.strangers(store, ring):  # one of those may need more
        forget_before(store, min(bases))
    return gone


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} is no moment", param_hint="--at") from wrong
    if moment.tzinfo is None:
        raise click.BadParameter("say the time zone, as +00:00", param_hint="--at")
    return moment


def _backups(settings: Settings, folder: Path | None) -> list[Backup]:
    try:
        return files.backups(store_of(settings, folder), ring_of(settings))
    except SealBroken as broken:
        raise RuntimeFailure(str(broken)) from broken


def _named(settings: Settings, folder: Path | None, name: str) -> Backup:
    found = _backups(settings, folder)
    dumps = [made for made in found if made.kind == files.DUMP]
    chosen = dumps[-1:] if name == "latest" else [made for made in found if made.name == name]
    if chosen:
        return chosen[0]
    closed = files.strangers(store_of(settings, folder), ring_of(settings))
    if name in closed:
        raise RuntimeFailure(f"the key {closed[name]} of backup {name} is not in SECRETS_KEY_FILE")
    keys = f"; those under the missing keys {', '.join(sorted(set(closed.values())))} are not read"
    raise RuntimeFailure(f"there is no backup {name} in {store_of(settings, folder)}{keys if closed else ''}")
