"""`python -m bench.peers`: sets up the virtual environments of the peers, pinned with hashes."""

from __future__ import annotations

import subprocess
import sys
import venv

from bench.foreign import HERE, PEERS, home, interpreter


def main() -> int:
    """Make what is missing; return 0 when all peers are there."""
    for name in PEERS:
        if not interpreter(name).exists():
            venv.create(home(name), with_pip=True)
        lock = HERE / f"{name}.lock"
        command = [str(interpreter(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*command, "--require-hashes", "-r", str(lock)], check=False)
        if done.returncode:
            print(f"{name} could not be installed", file=sys.stderr)
            return 1
        print(f"{name} is in {home(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
