"""The release after this one: a tree of its own, this code with what a second release will change."""

from __future__ import annotations

import configparser
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from app.db import revisions
from tests.support.database import ROOT

NEXT = ROOT / "tests" / "migration" / "next"
VERSION = "0.2.0"
PACKAGES = ("app", "tasks", "workflows", "migrations")
CHANGES = (
    ("app/db/workers.py", "w.state, w.heeds,", "w.state, w.obeys AS heeds,"),
    # Protocol 2: the lot has a place in every message, the number stands behind it.
    ("app/domain/leases.py", "PROTOCOL = 1\n", "PROTOCOL = 2\n"),
    ("app/domain/leases.py", "if len(more) == 1 else None", "if more and more[0] else None"),
    ("app/domain/leases.py", "if len(more) > 1:", "if len(more) > 1 and more[1] != PROTOCOL:"),
    ("workflows/canvas.py", "more = () if lot is None else (str(lot),)", "more = (lot and str(lot), 2)"),
)
"""File, what stands there once, what the next release has in its place."""


def next_release(folder: Path) -> Path:
    """Write the next release into a folder that is not there yet; return it."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("versions", "sql"):
        shutil.copytree(
            NEXT / kind,
            folder / "migrations" / kind,
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )
    for name in ("setup.cfg", "Procfile"):
        shutil.copy(ROOT / name, folder / name)
    for path, old, new in CHANGES:
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")
    _distribution(folder)
    return folder


def environment_of(release: Path) -> Mapping[str, str]:
    """Return the variables that make a process one of that release, with our test modules."""
    return {"PYTHONPATH": f"{release}:{ROOT}"}


@contextmanager
def migrating_as(release: Path) -> Iterator[None]:
    """Let this process migrate as that release: its migrations stand in the place of ours."""
    alone = release / "only"
    alone.mkdir(exist_ok=True)
    if not (alone / "migrations").exists():
        (alone / "migrations").symlink_to(release / "migrations")
    ours = _forget_migrations()
    sys.path.insert(0, str(alone))
    revisions.revisions.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(alone))
        _forget_migrations()
        sys.modules.update(ours)
        revisions.revisions.cache_clear()


def _forget_migrations() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "migrations"]
    return {name: sys.modules.pop(name) for name in names}


def _distribution(folder: Path) -> None:
    """Make the version known to importlib.metadata, which takes the first distribution on the path."""
    about = folder / f"quantum_platform-{VERSION}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: quantum-platform\nVersion: {VERSION}\n")
    ours = configparser.ConfigParser()
    ours.read(ROOT / "setup.cfg")
    groups = ours["options.entry_points"]
    text = "".join(f"[{name}]{groups[name]}\n" for name in groups)
    (about / "entry_points.txt").write_text(text)
