"""Where the state of an installation lives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

OUTSIDE = Path("/var/lib/quantum")
"""Where root keeps the state of checkouts that the servers' user may not enter."""


def checkout() -> Path:
    """Return the folder the platform runs from: the clone, or the working directory once installed."""
    clone = Path(__file__).resolve().parents[2]
    return clone if (clone / "setup.cfg").is_file() else Path.cwd()


def closed_parent(path: Path) -> Path | None:
    """Return the first folder above `path` that other users may not enter, or None."""
    for parent in reversed(path.resolve().parents):
        if parent.is_dir() and not parent.stat().st_mode & 0o001:
            return parent
    return None


def default_state_dir(root: Path, uid: int) -> Path:
    """Return where the state of the checkout `root` lives: inside it if the servers' user can enter.

    Root's servers run as a system user, so a clone below a closed folder keeps its state in /var/lib/quantum.
    """
    inside = root / ".quantum"
    if uid != 0 or closed_parent(inside) is None:
        return inside
    return OUTSIDE / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return the state directory: QUANTUM_STATE_DIR, or the default one of this checkout."""
    named = environ.get("QUANTUM_STATE_DIR", "")
    return Path(named).resolve() if named else default_state_dir(checkout(), os.getuid())
