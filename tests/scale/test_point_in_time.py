"""The drill to a moment beside a real history, with the time of each of its stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runtime.stages import Stages
from tests.support.moments import Drill
from tests.support.servers import private_servers

pytestmark = pytest.mark.scale

RUNS = 50_000
GOAL_S = 15 * 60
BEFORE = 3
"""The stages until there is something to go back to: the others are the recovery."""


def test_the_database_comes_back_as_it_stood_at_a_moment(tmp_path: Path) -> None:
    stages = Stages(lambda line: print(line, flush=True))
    with private_servers() as servers:
        base, _, rows = Drill(servers, tmp_path, stages).play(RUNS)
    took = sum(seconds for _, seconds in stages.spent[BEFORE:])
    print(f"{rows} rows back in {took:.1f} s from a base backup of {base.bytes / 2**20:.0f} MiB", flush=True)
    assert rows > 300_000
    assert took < GOAL_S
