"""Backups of the database, sealed under a key that the key-encryption key gives."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import click

from app.commands.backup_proof import ARTIFACTS, inspect
from app.commands.platform import told
from app.db import backups as notes
from app.db.engine import Database
from app.domain.backups import Standing, is_due
from app.domain.errors import QuantumError
from app.runtime import backup as service
from app.runtime import backup_files as files
from app.runtime.backup_files import Backup
from app.runtime.backup_lease import BackupLease
from app.runtime.binaries import postgres_bin
from app.runtime.embedded import CREDENTIALS_FILE
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.runtime.point_in_time import base_for, create_base, recovered
from app.runtime.wal_archive import WalReceiver, forget_before
from app.security.key_ring import KeyRing
from app.security.sealed_stream import SealBroken
from app.settings import Settings, inherited_environment, load_settings

NICENESS = 10
"""A scheduled backup lets everybody else go first."""


@click.group()
def backup() -> None:
    """Back the database up, prove it, restore it."""


def _placed(command: Callable[..., None]) -> Callable[..., None]:
    folder = click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Default: BACKUP_FOLDER, else backups in the state directory.",
    )
    admin = click.option(
        "--admin-url", envvar="DATABASE_ADMIN_URL", help="A superuser. Default: that of the embedded server."
    )
    return folder(admin(told(command)))


@backup.command("create")
@click.option("--base", is_flag=True, help="The whole server instead, to be brought to any later moment.")
@_placed
def create(base: bool, folder: Path | None, admin_url: str | None) -> None:
    """Dump the database as of one snapshot, sealed, with a manifest that counts its rows."""
    settings = _settings()
    if base:
        place, admin = _folder(settings, folder), _admin(settings, admin_url)
        made = create_base(_programs(settings), admin, place, _ring(settings), _now())
        click.echo(f"{made.name}: {made.bytes} bytes; restores to any moment from {made.ended_at} on")
        return
    made = _create(settings, admin_url, _folder(settings, folder), _now(), None)
    _note(settings, made)
    click.echo(f"{made.name}: {made.bytes} bytes, {sum(made.rows.values())} rows")


@backup.command("run")
@click.option("--if-due", is_flag=True, help="Only when none was verified since BACKUP_HOUR.")
@_placed
def run(if_due: bool, folder: Path | None, admin_url: str | None) -> None:
    """Create, verify, prune as BACKUP_KEEP and BACKUP_DAYS say; what beat starts every day.

    One process at a time does this: where another one is at it, nothing is done.
    """
    settings = _settings()
    os.nice(NICENESS)
    system = Database(settings.database_system_url, "system")
    lease = BackupLease(system, str(uuid4()))
    try:
        if not lease.take():
            click.echo("another process makes a backup")
            return
        with lease:
            seen = notes.standing(system)
            others = Standing(seen.verified, seen.tried, under_way=False)  # the lease is ours
            if if_due and not is_due(others, _now(), settings.backups.hour):
                click.echo("a backup was made already")
                return
            _run(settings, system, lease, admin_url, _folder(settings, folder))
    except QuantumError as away:
        raise RuntimeFailure(str(away)) from away
    finally:
        system.dispose()


def _run(
    settings: Settings, system: Database, lease: BackupLease, admin_url: str | None, folder: Path
) -> None:
    now, kept = _now(), settings.backups
    name = files.new_name(now)
    notes.note(system, name, now)
    try:
        made = _create(settings, admin_url, folder, now, name)
        lease.check()
        _verify(settings, folder, made, ARTIFACTS[0])
    except (RuntimeFailure, OSError) as failure:
        notes.note(system, name, now, error=str(failure) or type(failure).__name__)
        raise RuntimeFailure(f"{name}: {failure}") from failure
    _note(settings, made, verified=True)
    gone = _prune(settings, folder, kept.keep, kept.days)
    click.echo(f"{name} is made and verified; {len(gone)} older ones removed")


@backup.command("receive")
@click.option(
    "--drop", is_flag=True, help="Give the server's slot up instead: it keeps no log for us any more."
)
@_placed
def receive(drop: bool, folder: Path | None, admin_url: str | None) -> None:
    """Receive the write-ahead log until SIGTERM: with a base backup it restores to any moment since."""
    settings = _settings()
    place, admin = _folder(settings, folder), _admin(settings, admin_url)
    receiver = WalReceiver(_programs(settings), admin, place, _ring(settings))
    if drop:
        receiver.drop()
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    receiver.run(stop)


@backup.command("list")
@_placed
def list_backups(folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - all commands take both
    """The whole backups, oldest first."""
    settings = _settings()
    for made in _backups(settings, folder):
        kind = f"from {made.ended_at} on" if made.kind == files.BASE else f"{sum(made.rows.values())} rows"
        click.echo(f"{made.name}  {made.created_at}  {made.bytes} bytes  {kind}  key {made.key_id}")
    for name, key_id in files.strangers(_folder(settings, folder), _ring(settings)).items():
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
@_placed
def verify(name: str, artifacts: str, folder: Path | None, admin_url: str | None) -> None:
    """Restore NAME (the latest) into a scratch cluster; compare rows, schema, audit trail, artifacts."""
    settings = _settings()
    made = _named(settings, folder, name)
    if made.kind == files.BASE:
        admin, place = _admin(settings, admin_url), _folder(settings, folder)
        with recovered(_programs(settings), admin, place, made, _ring(settings), None) as url:
            inspect(url, made.revision, settings, artifacts)
        click.echo(f"{made.name} recovers, the audit trail holds")
        return
    _verify(settings, _folder(settings, folder), made, artifacts)
    _note(settings, made, verified=True)
    click.echo(f"{made.name} restores: {sum(made.rows.values())} rows as counted, the audit trail holds")


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
@_placed
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
    settings = _settings()
    place, url, ring = _folder(settings, folder), _admin(settings, admin_url), _ring(settings)
    moment = _moment(at) if at else None
    made = base_for(_backups(settings, folder), moment) if moment else _named(settings, folder, name)
    if moment is None and made.kind == files.BASE:
        raise RuntimeFailure(f"{made.name} is a base backup: say --at which moment")
    given = (_programs(settings), url, place, made, ring)
    try:
        if moment:
            service.restore_at(*given, moment, replace=replace, disconnect=disconnect, servers=programs)
        else:
            service.restore(*given, replace=replace, disconnect=disconnect)
    except SealBroken as broken:
        raise RuntimeFailure(f"{made.name}: {broken}") from broken
    click.echo(f"{made.name} is restored: start the platform, runs go on from their rows")


@backup.command("prune")
@click.option(
    "--keep", type=click.IntRange(1), default=7, show_default=True, help="The latest that stay anyway."
)
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="How old the others get.")
@_placed
def prune(keep: int, days: int, folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - as above
    """Remove old backups."""
    settings = _settings()
    for name in _prune(settings, _folder(settings, folder), keep, days):
        click.echo(f"removed {name}")


def _create(
    settings: Settings, admin_url: str | None, folder: Path, now: datetime, name: str | None
) -> Backup:
    programs, admin = _programs(settings), _admin(settings, admin_url)
    return service.create(programs, admin, folder, _ring(settings), now, name)


def _verify(settings: Settings, folder: Path, made: Backup, artifacts: str) -> None:
    """Raise `RuntimeFailure` unless the backup restores to what it should be."""
    ring = _ring(settings)
    try:
        service.verify(
            *(_programs(settings), folder, made, ring),
            lambda url: inspect(url, made.revision, settings, artifacts),
        )
    except SealBroken as broken:
        raise RuntimeFailure(f"{made.name}: {broken}") from broken


def _note(settings: Settings, made: Backup, *, verified: bool = False) -> None:
    """Tell the platform's database, whose metric is the age of the latest verified backup, if it is there."""
    system = Database(settings.database_system_url, "system")
    begun_at, rows = datetime.fromisoformat(made.created_at), sum(made.rows.values())
    try:
        notes.note(system, made.name, begun_at, made.bytes, rows, verified=verified)
    except QuantumError as away:
        click.echo(f"not noted, the metric of its age will not know it: {away}", err=True)
    finally:
        system.dispose()


def _prune(settings: Settings, folder: Path, keep: int, days: int) -> list[str]:
    """Remove old backups, then the log that no base backup needs any more."""
    ring = _ring(settings)
    gone = files.prune(folder, ring, _now(), keep, days)
    bases = [made.wal_from for made in files.backups(folder, ring) if made.kind == files.BASE]
    if bases and not files.strangers(folder, ring):  # one of those may need more
        forget_before(folder, min(bases))
    return gone


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} is no moment", param_hint="--at") from wrong
    if moment.tzinfo is None:
        raise click.BadParameter("say the time zone, as +00:00", param_hint="--at")
    return moment


def _settings() -> Settings:
    return load_settings(inherited_environment())


def _programs(settings: Settings) -> Path:
    return postgres_bin(settings.state_dir, server_identity())


def _folder(settings: Settings, folder: Path | None) -> Path:
    return folder or settings.backups.folder or settings.state_dir / "backups"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _backups(settings: Settings, folder: Path | None) -> list[Backup]:
    try:
        return files.backups(_folder(settings, folder), _ring(settings))
    except SealBroken as broken:
        raise RuntimeFailure(str(broken)) from broken


def _named(settings: Settings, folder: Path | None, name: str) -> Backup:
    found = _backups(settings, folder)
    dumps = [made for made in found if made.kind == files.DUMP]
    chosen = dumps[-1:] if name == "latest" else [made for made in found if made.name == name]
    if chosen:
        return chosen[0]
    closed = files.strangers(_folder(settings, folder), _ring(settings))
    if name in closed:
        raise RuntimeFailure(f"the key {closed[name]} of backup {name} is not in SECRETS_KEY_FILE")
    keys = f"; those under the missing keys {', '.join(sorted(set(closed.values())))} are not read"
    raise RuntimeFailure(f"there is no backup {name} in {_folder(settings, folder)}{keys if closed else ''}")


def _ring(settings: Settings) -> KeyRing:
    return KeyRing(settings.secrets_keys)


def _admin(settings: Settings, url: str | None) -> str:
    """Return the superuser's URL of our database: the one given, else that of the embedded server."""
    owner = urlsplit(settings.database_owner_url)
    if url:
        return url.rpartition("/")[0] + owner.path
    path = settings.state_dir / CREDENTIALS_FILE
    if not settings.embedded or not path.is_file():
        raise RuntimeFailure(
            "set DATABASE_ADMIN_URL to a superuser's URL: row security holds every other role"
        )
    password = json.loads(path.read_text())["postgres"]
    return f"postgresql://postgres:{quote(password)}@{owner.hostname}:{owner.port}{owner.path}"
