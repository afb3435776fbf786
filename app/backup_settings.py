"""The part of the configuration that says when backups are made, where they go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.variables import Variables, folder_item


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """The daily backup; without a folder there is none."""

    folder: Path | None = None
    hour: int = 2
    """When it is due, in UTC."""
    keep: int = 7
    """The latest that stay however old they are."""
    days: int = 30
    """How old the others get."""
    log: bool = False
    """Whether the write-ahead log is received beside them."""
    base_days: int = 7
    """How old the latest base backup gets before the next is made, where the log is received."""


def read_backups(reader: Variables) -> BackupSettings:
    """Read the variables; tells the reader what is wrong with them."""
    folders = reader.items("BACKUP_FOLDER", (), folder_item)
    if len(folders) > 1:
        reader.fault("BACKUP_FOLDER", "must be one folder")
    return BackupSettings(
        folders[0] if folders else None,
        reader.number("BACKUP_HOUR", 2, 0, 23),
        reader.number("BACKUP_KEEP", 7, 1, 10_000),
        reader.number("BACKUP_DAYS", 30, 1, 3650),
        reader.flag("BACKUP_LOG"),
        reader.number("BACKUP_BASE_DAYS", 7, 1, 365),
    )
