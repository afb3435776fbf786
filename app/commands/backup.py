"""Backups of the database, sealed under a key that the key-encryption key gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import UUID

import click

from app.commands.platform import told
from app.db.engine import Database
from app.domain.identity import Actor
from app.runtime import backup as service
from app.runtime.backup import Backup
from app.runtime.binaries import postgres_bin
from app.runtime.embedded import CREDENTIALS_FILE
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.security.audit_chain import AuditKey
from app.security.sealed_stream import SealBroken
from app.services.verify_audit import verify_audit
from app.settings import Settings, inherited_environment, load_settings

SEALS_AT_ONCE = 1000


@click.group()
def backup() -> None:
    """Back the database up, prove it, restore it."""


def _placed(command: Callable[..., None]) -> Callable[..., None]:
    folder = click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Default: backups in the state directory.",
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
    made = service.create(
        _programs(settings),
        _admin(settings, admin_url),
        _folder(settings, folder),
        settings.secrets_key,
        _now(),
    )
    click.echo(f"{made.name}: {made.bytes} bytes, {sum(made.rows.values())} rows")


@backup.command("list")
@_placed
def list_backups(folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - all commands take both
    """The whole backups, oldest first."""
    settings = _settings()
    for made in _backups(settings, folder):
        click.echo(f"{made.name}  {made.created_at}  {made.bytes} bytes  {sum(made.rows.values())} rows")


@backup.command("verify")
@click.argument("name", default="latest")
@_placed
def verify(name: str, folder: Path | None, admin_url: str | None) -> None:  # noqa: ARG001 - as above
    """Restore NAME (the latest) into a scratch cluster; compare its rows and the audit trail."""
    settings = _settings()
    made = _named(settings, folder, name)
    try:
        service.verify(
            _programs(settings),
            _folder(settings, folder),
            made,
            settings.secrets_key,
            lambda url: _check_audit(url, AuditKey(settings.secrets_key)),
        )
    except SealBroken as broken:
        raise RuntimeFailure(f"{made.name}: {broken}") from broken
    click.echo(f"{made.name} restores: {sum(made.rows.values())} rows as counted, the audit trail is intact")


@backup.command("restore")
@click.argument("name", default="latest")
@click.option("--replace", is_flag=True, help="Give up what the database holds now.")
@_placed
def restore(name: str, replace: bool, folder: Path | None, admin_url: str | None) -> None:
    """Restore NAME (the latest); stop the platform's processes first, their server goes on."""
    settings = _settings()
    made, url = _named(settings, folder, name), _admin(settings, admin_url)
    place = _folder(settings, folder)
    try:
        service.restore(_programs(settings), url, place, made, settings.secrets_key, replace=replace)
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
    for name in service.prune(_folder(settings, folder), settings.secrets_key, _now(), keep, days):
        click.echo(f"removed {name}")


def _check_audit(url: str, key: AuditKey) -> None:
    database = Database(url)
    try:
        for (tenant_id,) in database.call("SELECT DISTINCT tenant_id FROM audit_seals"):
            actor = Actor(UUID(str(tenant_id)), "", None, "backup", frozenset(), "backup")
            first: int | None = 1
            while first is not None:
                found = verify_audit(database, key, actor, first, SEALS_AT_ONCE)
                broken = [fault for fault in found.faults if fault.code != "unsealed"]
                if broken:
                    raise RuntimeFailure(
                        f"audit trail of {tenant_id}: seal {broken[0].seq} {broken[0].message}"
                    )
                first = found.next
    finally:
        database.dispose()


def _settings() -> Settings:
    return load_settings(inherited_environment())


def _programs(settings: Settings) -> Path:
    return postgres_bin(settings.state_dir, server_identity())


def _folder(settings: Settings, folder: Path | None) -> Path:
    return folder or settings.state_dir / "backups"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _backups(settings: Settings, folder: Path | None) -> list[Backup]:
    try:
        return service.backups(_folder(settings, folder), settings.secrets_key)
    except SealBroken as broken:
        raise RuntimeFailure(str(broken)) from broken


def _named(settings: Settings, folder: Path | None, name: str) -> Backup:
    found = _backups(settings, folder)
    chosen = found[-1:] if name == "latest" else [made for made in found if made.name == name]
    if not chosen:
        raise RuntimeFailure(f"there is no backup {name} in {_folder(settings, folder)}")
    return chosen[0]


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
