"""Where backups are kept: sealed contents under names, in a folder or in whatever else keeps such."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

DRAFT: Final = ".draft"
PIECE: Final = 1024 * 1024


class BackupStore(Protocol):
    """Keeps contents that are sealed already; none of its methods knows a key."""

    @property
    def apart(self) -> bool:
        """Whether it outlives the machine that writes to it."""

    def names(self) -> list[str]:
        """Return the names of all that is kept, in order; raises `RuntimeFailure`, OSError."""

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep the pieces under a name, in place of what was there; it appears whole or not at all.

        Raises what `pieces` raises, `RuntimeFailure`, OSError.
        """

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the content; raises `RuntimeFailure`, OSError, also when there is none."""

    def delete(self, name: str) -> None:
        """Forget a content, if there is one; raises `RuntimeFailure`, OSError."""

    def sweep(self, before: datetime) -> None:
        """Remove what writers left who died before that moment; raises `RuntimeFailure`, OSError."""


class FolderStore:
    """Files of a folder that only its owner may read."""

    apart = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def names(self) -> list[str]:
        """Return the files of the folder with those of its folder `wal`."""
        found = (*self._folder.glob("*"), *self._folder.glob("wal/*"))
        files = [path for path in found if path.is_file() and not path.name.endswith(DRAFT)]
        return sorted(path.relative_to(self._folder).as_posix() for path in files)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a draft down to the disk, then give it its name."""
        place = self._folder / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_name(place.name + DRAFT)
        draft.unlink(missing_ok=True)  # of a writer that died
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                for piece in pieces:
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            draft.rename(place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the file piece by piece."""
        with (self._folder / name).open("rb") as source:
            while piece := source.read(PIECE):
                yield piece

    def delete(self, name: str) -> None:
        """Remove the file."""
        (self._folder / name).unlink(missing_ok=True)

    def sweep(self, before: datetime) -> None:
        """Remove drafts that nobody has written to since."""
        for draft in (*self._folder.glob(f"*{DRAFT}"), *self._folder.glob(f"wal/*{DRAFT}")):
            if draft.stat().st_mtime < before.timestamp():
                draft.unlink()


class Stream:
    """A file that is read from pieces as they come."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end."""
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken
