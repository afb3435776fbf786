"""What `make test-services` runs: each test that starts workers runs with stretches off, or says why not."""

from __future__ import annotations

import re

from tests.services.__main__ import NOT_ONE_BY_ONE, ONE_BY_ONE
from tests.support.database import ROOT

STARTS = re.compile(r"\.(?:worker|start_worker|kept_worker)\(|\bWORKER\b")
"""How a test starts a worker: through the rig, or by its command."""
ELSEWHERE = ("tests/unit/", "tests/services/", "tests/scale/")
"""Start none, are run by name, or take minutes."""


def test_every_test_that_starts_workers_runs_with_a_message_for_each_step() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if STARTS.search(path.read_text())
    }
    wanted = {path for path in found if not path.startswith(ELSEWHERE)}
    assert len(wanted) > 15, "they are no longer recognised"
    missing = {path for path in wanted if not path.startswith(tuple(f"{folder}/" for folder in ONE_BY_ONE))}
    assert missing == set()


def test_what_is_left_out_is_there() -> None:
    assert all((ROOT / path).is_file() for path in NOT_ONE_BY_ONE)
    assert all((ROOT / path).is_dir() for path in ONE_BY_ONE)
