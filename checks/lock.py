"""The lock file is current: each requirement of setup.cfg is met by a pinned version with hashes."""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from checks.report import ROOT, Fault, tell

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")


def requirements(root: Path) -> list[Requirement]:
    """Return what setup.cfg asks for: the dependencies with every extra."""
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    return [Requirement(line) for text in lists for line in text.splitlines() if line.strip()]


def pins(text: str) -> dict[str, tuple[int, str, bool]]:
    """Return line, version and whether a hash follows, for each pinned name."""
    found: dict[str, tuple[int, str, bool]] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        pin = PIN.match(line)
        if pin:
            following = lines[number] if number < len(lines) else ""
            found[canonicalize_name(pin[1])] = (number, pin[2], "--hash=sha256:" in following)
    return found


def faults(root: Path) -> Iterator[Fault]:
    """Yield what is missing from the lock, or stale in it."""
    lock = root / "requirements.lock"
    pinned = pins(lock.read_text())
    for requirement in requirements(root):
        name = canonicalize_name(requirement.name)
        if name not in pinned:
            yield Fault(lock.name, 1, f"{requirement} is not pinned: run `make lock`")
        elif not requirement.specifier.contains(pinned[name][1], prereleases=True):
            line, version, _ = pinned[name]
            yield Fault(lock.name, line, f"{name} {version} does not meet {requirement}: run `make lock`")
    for name, (line, _, hashed) in pinned.items():
        if not hashed:
            yield Fault(lock.name, line, f"{name} has no hash: run `make lock`")
    if "index-url" in lock.read_text():
        yield Fault(lock.name, 1, "names a package index: that is for each machine to choose")


if __name__ == "__main__":
    sys.exit(tell(faults(ROOT)))
