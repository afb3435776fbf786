"""Backups of the database, sealed under a key that the key-encryption key gives."""

from __future__ import annotations

import json
import os
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
@_placed
def create(folder: Path | None, admin_url: str | None) -> None:
    """Dump the database as of one snapshot, sealed, with a manifest that counts its rows."""
    settings = _settings()
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
    gone = files.prune(folder, _ring(settings), now, kept.keep, kept.days)
    click.echo(f"{name} is made and verified; {len(gone)} older ones removed")


@backup.command("list")
@_placed
def list_backups(folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - all commands take both
    """The whole backups, oldest first."""
    settings = _settings()
    for made in _backups(settings, folder):
        rows = sum(made.rows.values())
        click.echo(f"{made.name}  {made.created_at}  {made.bytes} bytes  {rows} rows  key {made.key_id}")
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
def verify(name: str, artifacts: str, folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - as above
    """Restore NAME (the latest) into a scratch cluster; compare rows, schema, audit trail, artifacts."""
    settings = _settings()
    made = _named(settings, folder, name)
    _verify(settings, _folder(settings, folder), made, artifacts)
    _note(settings, made, verified=True)
    click.echo(f"{made.name} restores: {sum(made.rows.values())} rows as counted, the audit trail holds")


@backup.command("restore")
@click.argument("name", default="latest")
@click.option("--replace", is_flag=True, help="Give up what the database holds now.")
@click.option("--disconnect", is_flag=True, help="End the connections of whoever still uses it.")
@_placed
def restore(name: str, replace: bool, disconnect: bool, folder: Path | None, admin_url: str | None) -> None:
    """Restore NAME (the latest); stop the platform's processes first, their server goes on."""
    settings = _settings()
    made, url = _named(settings, folder, name), _admin(settings, admin_url)
    place = _folder(settings, folder)
    try:
        service.restore(
            *(_programs(settings), url, place, made, _ring(settings)), replace=replace, disconnect=disconnect
        )
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
    for name in files.prune(_folder(settings, folder), _ring(settings), _now(), keep, days):
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
    chosen = found[-1:] if name == "latest" else [made for made in found if made.name == name]
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
