"""The process that makes a scheduled backup, beside whoever asked for it, never longer than him."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from app.db.engine import Database
from app.runtime.guard import Guard
from app.services.ask_for_backups import BackupClock
from app.settings import inherited_environment
from app.settings.backups import BackupSettings

LOOK_EVERY_S = 60.0


def backup_chores(
    system: Database, wanted: BackupSettings
) -> tuple[tuple[str, float, Callable[[], object]], ...]:
    """Return beat's job that asks for the daily backup, none when no place is set for it."""
    if not wanted.scheduled:
        return ()
    clock = BackupClock(system, wanted.hour, lambda: datetime.now(UTC), BackupProcess, wanted.base_days)
    return (("backup", LOOK_EVERY_S, clock.look),)


class BackupProcess:
    """`quantum backup run --if-due` in our environment, in a group of its own; it ends with us."""

    def __init__(self) -> None:
        self._guard = Guard()
        program = Path(sys.executable).with_name("quantum")
        self._process = subprocess.Popen(  # noqa: S603 - our own program with our arguments
            [str(program), "backup", "run", "--if-due"],
            stdin=subprocess.DEVNULL,
            env=inherited_environment(),
            start_new_session=True,
        )
        self._guard.watch(self._process.pid)

    def ended(self) -> int | None:
        """Return its exit code, None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._guard.forget(self._process.pid)
            self._guard.close()
        return code
