"""Random graphs under random interleavings keep every promise about their rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.model.lanes import Lanes
from tests.integration.model.machine import LANES, Machine
from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine

QUICK = settings(
    max_examples=25,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # each step asks a database: slow, and large, by design
    report_multiple_bugs=False,
    phases=(Phase.generate,),
)
"""Always the same examples; a failure is told as it is, since making it small takes minutes."""
LONG = settings(QUICK, max_examples=1000, derandomize=False, phases=(Phase.generate, Phase.shrink))


@pytest.fixture
def world(database_urls: DatabaseUrls) -> Iterator[tuple[Spine, Lanes]]:
    lanes = Lanes(database_urls, LANES)
    yield Spine(database_urls), lanes
    lanes.close()


def test_every_interleaving_keeps_the_promises(world: tuple[Spine, Lanes]) -> None:
    run_state_machine_as_test(partial(Machine, *world), settings=QUICK)


@pytest.mark.scale
def test_a_thousand_interleavings_keep_the_promises(world: tuple[Spine, Lanes]) -> None:
    run_state_machine_as_test(partial(Machine, *world), settings=LONG)
