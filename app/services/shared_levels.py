"""Levels of loggers that a worker shares with its pool processes, which ask no database for them."""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from app.domain.log_levels import MOST
from app.observability.levels import apply_levels
from app.observability.logging import get_log

_HEAD: Final = struct.Struct("=II")
_LONGEST: Final = 160
"""Bytes of one name with its level, as JSON."""

log = get_log(__name__)


class SharedLevels:
    """A piece of memory, made before the pool forks; the parent alone writes it.

    A checksum makes what is half written look as before to those who read.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD.size + MOST * _LONGEST)
        self._heard = 0

    def write(self, levels: Mapping[str, str]) -> None:
        """Tell the pool what holds."""
        told = json.dumps(dict(levels)).encode()
        packed = _HEAD.pack(zlib.crc32(told), len(told)) + told
        if self._memory[: len(packed)] != packed:
            self._memory[: len(packed)] = packed

    def follow(self) -> None:
        """Obey what the parent wrote last; called in a pool process, again and again."""
        check, length = _HEAD.unpack(self._memory[: _HEAD.size])
        if check == self._heard:
            return
        told = self._memory[_HEAD.size : _HEAD.size + length]
        if zlib.crc32(told) != check:
            return  # it is being written: the next look reads it whole
        self._heard = check
        levels = json.loads(told)
        if apply_levels(levels):
            log.warning("log_levels_changed", levels=levels)
