"""The documents' examples of fans, of sub-workflows, run by real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.rig import Rig, held, note, rig_on
from tests.support.waiting import eventually
from workflows.checks import check_definition
from workflows.parsing import parse_definition, parse_text

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A beat with one worker of four processes."""
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        rig.beat()
        rig.worker(concurrency=4)
        yield rig


def document(name: str) -> Any:
    return parse_text((EXAMPLES / f"{name}.yaml").read_text())


def submit(rig: Rig, name: str, spec: Any) -> UUID:
    found = document(name)
    check_definition(parse_definition(found), rig.registry)
    return rig.submit_definition(found, spec)


def test_a_fan_of_parts_three_at_a_time(rig: Rig) -> None:
    run = submit(rig, "fan", {"parts": 8})
    rig.ends(run)
    assert rig.step(run, "report")["output"]["message"] == "8 parts"
    attempts = {key: row["attempt"] for key, row in rig.steps(run).items() if key.startswith("each.")}
    assert attempts == {f"each.{n}": 2 if n == 2 else 1 for n in range(8)}, "each item has its own attempts"
    rig.checks(run)


def test_no_more_items_are_sent_than_there_are_places(rig: Rig) -> None:
    each = held("each", "fan gate", "list", foreach="range(5)", max_parallel=2)
    run = rig.submit([note("list"), each, note("end", "each")])
    eventually(lambda: rig.count(run, "running") == 2, within=20)
    assert rig.count(run, "pending") == 4, "three items without a place, and the last step"
    rig.open_gate("fan gate")
    rig.ends(run)
    rig.checks(run)
