"""Where the commands for backups find what they need: settings, folder, superuser, programs, keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import click

from app.commands.exits import told
from app.runtime.backup_store import BackupStore, FolderStore
from app.runtime.binaries import postgres_bin
from app.runtime.embedded import CREDENTIALS_FILE
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.security.key_ring import KeyRing
from app.settings import Settings, inherited_environment, load_settings


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where backups are, who may make them."""
    folder = click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Default: BACKUP_CONTAINER, else BACKUP_FOLDER, else backups in the state directory.",
    )
    admin = click.option(
        "--admin-url", envvar="DATABASE_ADMIN_URL", help="A superuser. Default: that of the embedded server."
    )
    return folder(admin(told(command)))


def read_settings() -> Settings:
    """Return the settings of this process; raises SettingsError."""
    return load_settings(inherited_environment())


def programs_of(settings: Settings) -> Path:
    """Return the folder of PostgreSQL's programs that came with us; raises `RuntimeFailure`."""
    return postgres_bin(settings.state_dir, server_identity())


def folder_of(settings: Settings, folder: Path | None) -> Path:
    """Return the folder of this machine for backups, or for what is on its way to a container."""
    return folder or settings.backups.folder or settings.state_dir / "backups"


def store_of(settings: Settings, folder: Path | None) -> BackupStore:
    """Return what keeps the backups: a folder that is named, else the container, else the default folder."""
    if folder is not None or not settings.backups.container:
        return FolderStore(folder_of(settings, folder))
    # Of the extra `[azure]`: whoever keeps files needs none of it.
    from app.runtime.backup_blobs import BlobStore  # noqa: PLC0415 - as above

    return BlobStore(settings.backups.storage, settings.backups.container)


def ring_of(settings: Settings) -> KeyRing:
    """Return the keys that seal backups."""
    return KeyRing(settings.secrets_keys)


def this_second() -> datetime:
    """Return the time, no finer than manifests tell it."""
    return datetime.now(UTC).replace(microsecond=0)


def admin_of(settings: Settings, url: str | None) -> str:
    """Return the superuser's URL of our database: the one given, else that of the embedded server.

    Raises `RuntimeFailure` when there is neither.
    """
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
