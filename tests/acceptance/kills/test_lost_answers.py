"""Commits that nobody hears of, on real processes: each function that moves a run is cut off once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from app.domain.errors import Unavailable
from tests.support.rig import Rig, note, rig_on
from tests.support.wire import Wire

RESTART_S = 3.0
"""Longer than a stretch may last."""
MOVES = (
    "claim_step(",
    "finish_step(",
    "finish_and_take(",
    "mark_sent(",
    "expand_step(",
    "begin_wait(",
    "start_child(",
    "end_child(",
)
CHILD = {"name": "test.unheard-child", "version": 1, "steps": [note("only")]}
PARENT = {
    "name": "test.unheard",
    "version": 1,
    "steps": [
        note("a"),
        note("b", "a"),
        note("c", "b"),
        note("each", "a", foreach="range(9)"),
        {"id": "child", "workflow": "test.unheard-child@1", "needs": ["each"]},
        {"id": "pause", "wait": {"for": "PT1S"}, "needs": ["child"]},
        note("join", "c", "pause"),
        note("end", "join"),
    ],
}


@pytest.fixture(scope="module")
def wire(environ: dict[str, str]) -> Iterator[Wire]:
    with closing(Wire.before(environ)) as wire:
        yield wire


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig whose app role talks by way of the wire, with a beat and a worker."""
    with rig_on(wire.surroundings(environ), tmp_path_factory.mktemp("rig")) as rig:
        rig.beat()
        rig.worker()
        yield rig


def test_every_commit_that_moves_a_run_may_go_unheard(rig: Rig, wire: Wire) -> None:
    cuts = [wire.cut("accept_intents(")]
    with pytest.raises(Unavailable):  # a caller repeats it with its key
        rig.submit([note("only")])
    (unsent,) = rig.rows("SELECT id FROM runs WHERE tenant_id = %s", rig.actor.tenant_id)
    cuts += [*map(wire.cut, MOVES), wire.cut("finish_and_claim(", RESTART_S)]
    parent = rig.submit_definition(PARENT, children=[CHILD])
    for run in (parent, unsent["id"]):
        rig.ends(run, within=60)
        rig.checks(run)
        assert all(row["kills"] == 0 for row in rig.steps(run).values())
    assert [cut.words for cut in cuts if not cut.struck.is_set()] == []
