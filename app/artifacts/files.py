"""Artifacts as files of one folder."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from app.domain.artifacts import ArtifactMissing, ArtifactStoreFull
from app.domain.errors import Unavailable

PIECE = 1 << 18
DRAFT = ".new-"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FileStore:
    """Content under `folder`/tenant/first two digits/hash, readable by its owner alone.

    A file appears whole or not at all: it is written beside its place, brought to the disk, then renamed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, tenant_id: UUID, sha256: str, content: bytes) -> None:
        """Keep the content; a file that is there already is kept if it is sound. Raises as the port says."""
        place = self._place(tenant_id, sha256)
        with _told():
            if _is_sound(place, sha256, len(content)):
                return
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = place.with_name(f"{DRAFT}{os.getpid()}-{secrets.token_hex(8)}")
            try:
                _write(draft, content)
                draft.rename(place)
            finally:
                draft.unlink(missing_ok=True)
            _bring_to_disk(place.parent)

    def read(self, tenant_id: UUID, sha256: str) -> Iterator[bytes]:
        """Yield the content piece by piece; raises as the port says, before the first piece."""
        with _told():
            try:
                file = self._place(tenant_id, sha256).open("rb")
            except FileNotFoundError as fault:
                raise ArtifactMissing(f"there is no artifact {sha256}") from fault
        return _pieces(file.fileno(), file.close)

    def size(self, tenant_id: UUID, sha256: str) -> int | None:
        """Return the size of the file, None when there is none."""
        with _told():
            try:
                return self._place(tenant_id, sha256).stat().st_size
            except FileNotFoundError:
                return None

    def delete(self, tenant_id: UUID, sha256: str) -> None:
        """Forget the content."""
        with _told():
            self._place(tenant_id, sha256).unlink(missing_ok=True)

    def sweep(self, older_s: float) -> int:
        """Remove drafts of writers that died."""
        count = 0
        before = time.time() - older_s
        with _told():
            for draft in self._folder.glob(f"*/*/{DRAFT}*"):
                try:
                    if draft.stat().st_mtime < before:
                        draft.unlink()
                        count += 1
                except FileNotFoundError:
                    continue  # its writer has just finished
        return count

    def _place(self, tenant_id: UUID, sha256: str) -> Path:
        return self._folder / str(tenant_id) / sha256[:2] / sha256


def _is_sound(place: Path, sha256: str, size: int) -> bool:
    try:
        if place.stat().st_size != size:
            return False
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def _write(draft: Path, content: bytes) -> None:
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _bring_to_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pieces(handle: int, close: object) -> Iterator[bytes]:
    try:
        while piece := os.read(handle, PIECE):
            yield piece
    finally:
        if callable(close):
            close()


@contextmanager
def _told() -> Iterator[None]:
    """Tell errors of the file system in the words of the port."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            raise ArtifactStoreFull("the disk of the artifact store is full") from fault
        raise Unavailable("artifact store", f"the artifact store cannot be used: {fault.strerror}") from fault
