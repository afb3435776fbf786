"""The wiring of presence: a process of this release says that it works on the schema."""

from __future__ import annotations

import os
import signal
import socket
from importlib.metadata import version

from app.db import revisions
from app.db.engine import Database
from app.db.ids import new_id
from app.domain.upgrades import Process
from app.services.attendance import Attendance
from app.settings import Settings


def release() -> str:
    """Return the version of the platform that this process runs."""
    return version("quantum-platform")


def build_attendance(settings: Settings, kind: str, system: Database | None = None) -> Attendance:
    """Return the presence of this process, which keeps contracts from taking away what it may use."""
    system = system or Database(settings.database_system_url, "system")
    known = revisions.newest(), revisions.needed()
    process = Process(new_id(), kind, socket.gethostname(), os.getpid(), release(), *known)
    return Attendance(system, process, lambda: os.kill(os.getpid(), signal.SIGTERM))
