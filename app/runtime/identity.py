"""The system user that the embedded servers run as when root starts them."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.runtime.failure import RuntimeFailure

SYSTEM_USER = "quantum"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a server process runs as."""

    uid: int
    gid: int
    switch: bool
    """Whether that is another user than this process's own."""

    def popen(self) -> dict[str, Any]:
        """Return the `subprocess` arguments that make a child run as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def own(self, path: Path) -> None:
        """Give `path` to this user."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def server_identity() -> Identity:
    """Return whom the servers run as: ourselves, or the system user when we are root.

    PostgreSQL refuses root, so the user is made by `useradd` when it is missing; raises `RuntimeFailure`
    where that cannot be done.
    """
    if os.getuid() != 0:
        return Identity(os.getuid(), os.getgid(), switch=False)
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _add_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return Identity(entry.pw_uid, entry.pw_gid, switch=True)


def _add_system_user() -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise RuntimeFailure(
            f"PostgreSQL refuses root, `useradd` is missing: add a system user named {SYSTEM_USER!r} yourself"
        )
    command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    if any(group.gr_name == SYSTEM_USER for group in grp.getgrall()):
        command[1:1] = ["--gid", SYSTEM_USER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    if done.returncode not in (0, 9):  # 9: another process made it first
        raise RuntimeFailure(f"useradd failed to make the system user {SYSTEM_USER!r}: {done.stderr.strip()}")
