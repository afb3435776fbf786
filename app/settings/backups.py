"""The part of the configuration that says when backups are made, where they go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from app.settings.variables import Variables, folder_item

STORAGE = "BACKUP_STORAGE_CONNECTION_STRING"


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
    container: str = ""
    """A container of Azure Blob Storage to keep them in instead of the folder, or empty."""
    storage: str = field(default="", repr=False)
    """The connection string of its storage account."""

    @property
    def scheduled(self) -> bool:
        """Whether beat asks for a backup every day."""
        return self.folder is not None or bool(self.container)


def read_backups(reader: Variables) -> BackupSettings:
    """Read the variables; tells the reader what is wrong with them."""
    folders = reader.items("BACKUP_FOLDER", (), folder_item)
    if len(folders) > 1:
        reader.fault("BACKUP_FOLDER", "must be one folder")
    container = reader.text("BACKUP_CONTAINER", "")
    storage = reader.text(STORAGE, "") or reader.text("AZURE_STORAGE_CONNECTION_STRING", "")
    if container and not storage:
        reader.fault(STORAGE, "must be set, or AZURE_STORAGE_CONNECTION_STRING, when BACKUP_CONTAINER is")
    return BackupSettings(
        folders[0] if folders else None,
        reader.number("BACKUP_HOUR", 2, 0, 23),
        reader.number("BACKUP_KEEP", 7, 1, 10_000),
        reader.number("BACKUP_DAYS", 30, 1, 3650),
        reader.flag("BACKUP_LOG"),
        reader.number("BACKUP_BASE_DAYS", 7, 1, 365),
        container,
        storage,
    )
