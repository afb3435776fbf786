"""Real chains with real chords, seen in the broker while they are in flight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.messaging.queues import is_amqp
from tests.support.rig import Rig, held, note, rig_on
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


def args(signature: dict[str, object]) -> object:
    return signature["args"]


def test_a_linear_run_travels_as_one_chain(rig: Rig) -> None:
    run = rig.submit([note("a"), note("b", "a"), note("c", "b")])
    tenant = str(rig.actor.tenant_id)
    (message,) = (found for found in rig.messages() if found["id"] == f"{run}:a:1")
    assert (message["task"], message["args"], message["chord"]) == (
        "quantum.step",
        [tenant, str(run), "a", 1],
        None,
    )
    # Celery keeps what follows in reverse: the next one stands last.
    assert [args(step) for step in message["chain"]] == [[tenant, str(run), key, 1] for key in ("c", "b")]
    rig.worker()
    rig.ends(run)
    rig.checks(run)


def test_an_exclusive_fork_join_travels_as_a_chord_whose_body_goes_on(rig: Rig) -> None:
    run = rig.submit(
        [held("left", "open"), note("right"), note("join", "left", "right"), note("end", "join")]
    )
    if is_amqp(rig.settings.broker_url):
        pytest.skip("RabbitMQ lets nobody read what it has delivered")
    in_flight = eventually(lambda: [m for m in rig.delivered() if m["id"] == f"{run}:left:1"], within=20)
    body = in_flight[0]["chord"]
    tasks = [body] if body["task"] == "quantum.step" else body["kwargs"]["tasks"]
    assert [task["args"][2] for task in tasks] == ["join", "end"]
    rig.open_gate("open")
    rig.ends(run)
    rig.checks(run)


def test_a_join_of_several_segments_is_released_by_the_transaction(rig: Rig) -> None:
    # d needs a alone, e needs both: neither chain nor chord carries this without a needless barrier.
    run = rig.submit([note("a"), note("b"), note("d", "a"), note("e", "a", "b"), note("end", "d", "e")])
    rig.ends(run)
    rig.checks(run)
