"""`make test-services`: the suites that need servers of the machine; names each one that is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from app.settings import inherited_environment
from tests.services.rabbitmq import SERVER
from tests.support.brokers import BROKER_VARIABLE
from tests.support.database import ROOT
from tests.support.rig import STRETCHES
from tests.support.servers import PROGRAMS_VARIABLE

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
NEEDED = {
    POSTGRES_15 / "postgres": "postgresql-15",
    SERVER: "rabbitmq-server",
    Path("/usr/bin/promtool"): "prometheus",
}
SUITES = ("tests/services", "tests/migration", "tests/integration/db", "tests/integration/rls")
"""What depends on the server's version runs against the oldest PostgreSQL that is supported."""
HANDS = "tests/acceptance/hands/test_workers.py::test_the_commands_of_each_runbook_do_it"
BACKUPS = (
    "tests/integration/runtime/test_backup.py",
    "tests/integration/runtime/test_wal_archive.py",
    f"{HANDS}[backup-old]",
    f"{HANDS}[restore]",
)
"""So do backups, whose programs are newer than that server: made by hand, by beat, proved, restored."""
STARTING_WORKERS = (
    "tests/integration/artifacts",
    "tests/integration/engine",
    "tests/integration/operations",
    "tests/integration/secrets",
    "tests/acceptance",
)
"""What starts workers promises the same where each step has a message of its own (`WORKER_STRETCHES=0`),
or where RabbitMQ is the broker (`TEST_BROKER=rabbitmq`)."""
NO_STEPS = {
    "tests/acceptance/test_schemathesis.py": "calls the API, no worker",
    "tests/acceptance/test_up.py": "looks at processes with embedded servers, not at steps",
}
NOT_ONE_BY_ONE = {
    **NO_STEPS,
    "tests/acceptance/kills/test_lost_answers.py": "switches stretches on itself",
    "tests/acceptance/kills/test_lots.py": "switches stretches on itself",
    "tests/acceptance/kills/test_stretches.py": "switches stretches on itself",
    "tests/acceptance/test_cli.py": "looks at what commands print",
    "tests/acceptance/test_demo.py": "runs the demo, which chooses how it starts its platform",
    "tests/acceptance/test_traces.py": "compares a trace in which one step follows another in its process",
}
"""What is left out of the one, with the reason."""
NOT_OVER_RABBITMQ = {
    **NO_STEPS,
    "tests/acceptance/test_demo.py": "shows what lies in Valkey's lists, then flushes it",
    "tests/acceptance/test_pytest_celery.py": "its node of the broker is a Valkey process",
    "tests/integration/engine/test_broker.py": "keys of Redis; RabbitMQ has tests/services/test_rabbitmq.py",
}
"""What is left out of the other, beside single tests with the marker `redis_broker`, which has a reason."""


def main() -> int:
    """Run the suites; return 1 with the names of the packages when a server is missing."""
    missing = [package for program, package in NEEDED.items() if not program.exists()]
    if missing:
        print(f"missing: {', '.join(missing)}; as root: apt-get install {' '.join(missing)}")
        return 1
    suites = [suite for suite in SUITES if (ROOT / suite).is_dir()]
    old = {PROGRAMS_VARIABLE: str(POSTGRES_15)}
    ended = [
        run((*suites, *BACKUPS), old),
        run(without(NOT_OVER_RABBITMQ), {**old, BROKER_VARIABLE: "rabbitmq"}),
        run(without(NOT_ONE_BY_ONE), {STRETCHES: "0"}),
    ]
    return max(ended)


def without(left_out: Iterable[str]) -> tuple[str, ...]:
    """Return what starts workers but for these, in pytest's words."""
    return (*STARTING_WORKERS, *(f"--ignore={path}" for path in left_out))


def run(suites: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run some suites with more variables; return pytest's exit code."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "not scale", *suites],
        cwd=ROOT,
        env={**inherited_environment(), **environ},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
