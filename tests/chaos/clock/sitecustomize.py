"""A process under test with a clock that a shared file shifts, a disk that another one fills."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.settings import inherited_environment

SHIFT = struct.Struct("d")


def shifted(path: Path) -> Callable[[], float]:
    """Return a clock that is ahead by what the file says now."""
    true = time.time
    with path.open("rb") as handle:
        view = mmap.mmap(handle.fileno(), SHIFT.size, access=mmap.ACCESS_READ)

    def clock() -> float:
        return true() + float(SHIFT.unpack_from(view)[0])

    return clock


def bounded(path: Path) -> Callable[[Any], None]:
    """Return `os.fsync` that finds no room while the file's byte is set, as delayed allocation tells it."""
    true = os.fsync
    with path.open("rb") as handle:
        view = mmap.mmap(handle.fileno(), 1, access=mmap.ACCESS_READ)

    def fsync(file: Any) -> None:
        if view[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true(file)

    return fsync


environ = inherited_environment()
if environ.get("CHAOS_CLOCK"):
    time.time = shifted(Path(environ["CHAOS_CLOCK"]))
if environ.get("CHAOS_DISK"):
    os.fsync = bounded(Path(environ["CHAOS_DISK"]))  # type: ignore[assignment]  # nobody names the argument
