"""Levels of loggers, as operators set them while the platform runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""From all to little."""
ROOT: Final = "root"
"""The logger above all others, by Python's own name for it."""
OURS: Final = frozenset({"app", "tasks", "workflows"})
"""Packages whose loggers are named after files, so that a name which was mistyped can be told."""
TELLTALES: Final = frozenset({"azure", "requests", "sqlalchemy", "urllib3"})
"""Libraries whose lines below WARNING hold values of statements, or addresses: what customers wrote."""
QUIET: Final = frozenset({"DEBUG", "INFO"})
"""Levels that these may not have."""
LONGEST: Final = 100
"""Characters of a name."""
MOST: Final = 50
"""Levels in force at a time; a worker shares them with its pool in a piece of memory of fixed size."""


@dataclass(frozen=True, slots=True)
class LevelRule:
    """What is said of a logger, with those below it; without a level, or past `ends_at`, nothing is.

    `in_force` is the database's word, by its own clock. Version 0 says that nobody has ever set one.
    """

    module: str
    level: str | None = None
    ends_at: datetime | None = None
    reason: str = ""
    changed_by: str = ""
    version: int = 0
    updated_at: datetime | None = None
    in_force: bool = False


@dataclass(frozen=True, slots=True)
class LevelNow:
    """A level in force; `left_s` seconds of it are left, None without an end."""

    module: str
    level: str
    left_s: float | None
