"""A count of files made without the platform, to compare its answer with."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

LARGEST = 10


@dataclass(frozen=True, slots=True)
class Count:
    """Totals over files; `lines` counts newline characters; `largest` is (path, bytes), biggest first."""

    files: int
    bytes: int
    lines: int
    largest: tuple[tuple[str, int], ...]


def count_files(root: Path, excluded: Container[str]) -> Count:
    """Count every regular file below `root`, without symbolic links or folders of an excluded name."""
    sizes: list[tuple[str, int]] = []
    lines = 0
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders += [] if entry.name in excluded else [Path(entry.path)]
                elif entry.is_file(follow_symlinks=False):
                    content = Path(entry.path).read_bytes()
                    sizes.append((Path(entry.path).relative_to(root).as_posix(), len(content)))
                    lines += content.count(b"\n")
    biggest = sorted(sizes, key=lambda file: (-file[1], file[0]))[:LARGEST]
    return Count(len(sizes), sum(size for _, size in sizes), lines, tuple(biggest))
