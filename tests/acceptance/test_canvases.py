"""Real chains with real chords, seen in the broker while they are in flight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.support.rig import Rig, note, rig_on

CHAIN = [note("a"), note("b", "a"), note("c", "b")]
FORK_JOIN = [note("left"), note("right"), note("join", "left", "right"), note("end", "join")]


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def chain(rig: Rig) -> UUID:
    return rig.submit(CHAIN)


@pytest.fixture(scope="module")
def fork_join(rig: Rig) -> UUID:
    return rig.submit(FORK_JOIN)


@pytest.fixture(scope="module")
def sent(rig: Rig, chain: UUID, fork_join: UUID) -> dict[str, dict[str, Any]]:
    """The messages of both runs, seen while nobody took them; a worker does from now on."""
    found = {message["id"]: message for message in rig.messages()}
    rig.worker()
    return found


def args(signature: dict[str, object]) -> object:
    return signature["args"]


def test_a_linear_run_travels_as_one_chain(rig: Rig, chain: UUID, sent: dict[str, dict[str, Any]]) -> None:
    run, tenant = chain, str(rig.actor.tenant_id)
    (message,) = (found for key, found in sent.items() if key.startswith(str(run)))
    assert message["id"] == f"{run}:a:1"
    assert (message["task"], message["args"], message["chord"]) == (
        "quantum.step",
        [tenant, str(run), "a", 1],
        None,
    )
    # Celery keeps what follows in reverse: the next one stands last.
    assert [args(step) for step in message["chain"]] == [[tenant, str(run), key, 1] for key in ("c", "b")]
    rig.ends(run)
    rig.checks(run)


def test_an_exclusive_fork_join_travels_as_a_chord_whose_body_goes_on(
    rig: Rig, fork_join: UUID, sent: dict[str, dict[str, Any]]
) -> None:
    run = fork_join
    bodies = [sent[f"{run}:{key}:1"]["chord"] for key in ("left", "right")]
    assert bodies[0] == bodies[1]
    tasks = [bodies[0]] if bodies[0]["task"] == "quantum.step" else bodies[0]["kwargs"]["tasks"]
    assert [task["args"][2] for task in tasks] == ["join", "end"]
    rig.ends(run)
    rig.checks(run)


@pytest.mark.usefixtures("sent")
def test_a_join_of_several_segments_is_released_by_the_transaction(rig: Rig) -> None:
    # d needs a alone, e needs both: neither chain nor chord carries this without a needless barrier.
    run = rig.submit([note("a"), note("b"), note("d", "a"), note("e", "a", "b"), note("end", "d", "e")])
    rig.ends(run)
    rig.checks(run)
