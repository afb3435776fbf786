"""`make test-services`: the suites that need servers of the machine; names each one that is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.settings import inherited_environment
from tests.services.rabbitmq import SERVER
from tests.support.database import ROOT
from tests.support.servers import PROGRAMS_VARIABLE

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
NEEDED = {
    POSTGRES_15 / "postgres": "postgresql-15",
    SERVER: "rabbitmq-server",
}
SUITES = ("tests/services", "tests/migration", "tests/integration/db", "tests/integration/rls")
"""What depends on the server's version runs against the oldest PostgreSQL that is supported."""


def main() -> int:
    """Run the suites; return 1 with the names of the packages when a server is missing."""
    missing = [package for program, package in NEEDED.items() if not program.exists()]
    if missing:
        print(f"missing: {', '.join(missing)}; as root: apt-get install {' '.join(missing)}")
        return 1
    suites = [suite for suite in SUITES if (ROOT / suite).is_dir()]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *suites],
        cwd=ROOT,
        env={**inherited_environment(), PROGRAMS_VARIABLE: str(POSTGRES_15)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
