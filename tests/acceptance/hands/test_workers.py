"""Orders to workers that execute steps: drained, quarantined, resized, held with the whole platform."""

from __future__ import annotations

import contextlib
import re
import shlex
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.acceptance.hands.plays import EXECUTORS, HOST, PLAYS, Scene, healthy, holding, line_of, told
from tests.support.rig import Rig, held, note
from tests.support.shell import Quantum
from tests.support.waiting import eventually

RUNBOOKS = sorted(
    path for path in (Path(__file__).parents[3] / "docs" / "runbooks").glob("*.md") if path.stem != "README"
)
PROOF = ("backup", "verify")
"""Takes as long as all else on its pages: the suite of backups proves what it does."""
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def other(name: str) -> str:
    return next(each for each in EXECUTORS if each != name)


def shown(quantum: Quantum, name: str) -> dict[str, Any]:
    """Return the one live worker of this name as the shell shows it."""
    found = [each for each in quantum.json("workers", "list") if each["name"] == name]
    assert len(found) == 1, "one that ended in good order has left"
    return dict(found[0])


def executors(rig: Rig, number: int) -> set[str]:
    """Submit so many runs, wait for their ends, return who executed them."""
    runs = [rig.submit([note("a")]) for _ in range(number)]
    for run in runs:
        rig.ends(run, within=30)
    return {str(rig.step(run, "a")["worker"]) for run in runs}


@pytest.fixture(autouse=True)
def open_again(rig: Rig, quantum: Quantum) -> Iterator[None]:
    """Open what a test that failed has left closed, so that the others are not held by it."""
    yield
    for row in rig.rows(
        "SELECT h.name, t.slug FROM holds h LEFT JOIN tenants t ON h.name = 'tenant/' || t.id"
    ):
        kind, _, name = str(row["name"]).partition("/")
        if kind == "worker":
            quantum("undrain", "worker", name)
        elif kind == "tenant":
            quantum("tenant", "resume", str(row["slug"]))
        else:
            quantum("maintenance", "off")


def test_a_drained_worker_ends_what_it_runs_begins_nothing_and_outlives_its_restart(
    rig: Rig, quantum: Quantum
) -> None:
    run, name = holding(rig, "drain")
    quantum("drain", "worker", name, "--reason", "new kernel")
    again = quantum.json("drain", "worker", name, "--reason", "new kernel")
    assert (again["state"], again["version"]) == ("draining", 1), "an order in force is no change"
    assert executors(rig, 6) == {other(name)}
    assert rig.step(run, "a")["state"] == "running"
    rig.open_gate("drain")
    rig.ends(run)
    assert (rig.step(run, "a")["worker"], rig.step(run, "a")["tries"]) == (name, 1)
    assert rig.step(run, "b")["worker"] == other(name), "the rest of its chain runs elsewhere"
    quantum("drain", "worker", name, "--reason", "new kernel", "--wait", "--within", "30")
    seen = shown(quantum, name)
    assert (seen["heeds"], seen["busy"], seen["skewed"]) == ("draining", 0, False)
    assert not rig.depth(), "it takes no messages"

    short = name.partition("@")[0]
    rig.restart(short)
    assert executors(rig, 4) == {other(name)}
    eventually(lambda: told(rig, name)["heeds"] == "draining", within=20)
    quantum("undrain", "worker", name)
    eventually(lambda: name in executors(rig, 4), within=30)


def test_a_pool_shrinks_and_grows_at_run_time(rig: Rig, quantum: Quantum) -> None:
    name = f"one@{HOST}"
    assert quantum.json("workers", "resize", name, "-1")["pool_size"] == 1
    eventually(lambda: told(rig, name)["processes"] == 1, within=30)
    executors(rig, 2)
    quantum("workers", "resize", name, "3")
    eventually(lambda: told(rig, name)["processes"] == 3, within=30)
    runs = [rig.submit([held("a", "grown")]) for _ in range(5)]
    eventually(
        lambda: sum(rig.count(run, "running") for run in runs) == 5, within=20, what="five processes work"
    )
    rig.open_gate("grown")
    for run in runs:
        rig.ends(run)
    quantum("workers", "resize", name, "started")
    assert "no live worker" in quantum("workers", "resize", "nobody@nowhere", "-1", code=4).stderr


@pytest.mark.services  # takes seconds only to wait; there it is played twice
def test_a_frozen_worker_is_lost_until_another_of_its_name_comes(rig: Rig, quantum: Quantum) -> None:
    run, name = holding(rig, "frozen")
    short = name.partition("@")[0]
    rig.freeze(short)
    eventually(lambda: rig.step(run, "a")["tries"] == 2, within=30, what="its step runs elsewhere")
    assert (rig.step(run, "a")["worker"], rig.step(run, "a")["kills"]) == (other(name), 1)
    row = line_of(quantum("workers").stdout, name, "dead", "lost")
    assert str(rig.pid(short)) in row.split(), "whom to kill"
    rig.open_gate("frozen")
    rig.ends(run)
    rig.replace_killed(short)
    eventually(lambda: shown(quantum, name)["state"] == "live", within=30, every=0.2)


def test_in_maintenance_work_is_accepted_and_none_begins(rig: Rig, quantum: Quantum) -> None:
    base = f"http://127.0.0.1:{rig.environ['API_PORT']}"
    running, _ = holding(rig, "maintenance")
    quantum("maintenance", "on", "--reason", "moving the database")
    document = rig.folder / "echo.yaml"
    document.write_text("type: core.echo\nspec: {message: hello}\n")
    quantum.json("maintenance", "show")
    run = UUID(quantum.json("intent", "submit", "-f", str(document))["run"]["id"])

    def announced() -> str:
        """Return what the API says while it announces maintenance: it looks at the row now and then."""
        with urllib.request.urlopen(f"{base}/readyz") as answer:
            return str(answer.read().decode()) if answer.headers["Quantum-Maintenance"] == "on" else ""

    assert "moving the database" in eventually(announced, within=20)
    (reason,) = quantum.json("runs", "explain", str(run))["reasons"]
    assert (reason["code"], "moving the database" in reason["message"]) == ("maintenance", True)
    rig.open_gate("maintenance")
    eventually(lambda: rig.step(running, "a")["state"] == "succeeded", within=20)
    for name in EXECUTORS:
        eventually(lambda name=name: told(rig, name)["heeds"] == "maintenance", within=20)
    assert (rig.state(run), rig.state(running), rig.step(running, "b")["state"]) == (
        "queued",
        "running",
        "ready",
    )
    (queue,) = quantum.json("queues")
    # Who hears of it after "a" has ended gives "b" back; else the message of "b" waits in the broker.
    assert queue["unsent"] + queue["sent"] == 1
    assert (queue["waiting_runs"], queue["running"], queue["workers"]) == (1, 0, 0)
    quantum("maintenance", "off")
    for each in (run, running):
        rig.ends(each)


def test_a_suspended_tenant_rests_until_it_is_resumed(rig: Rig, quantum: Quantum) -> None:
    actor = rig.tenant()
    run = rig.submit([held("a", "suspended"), note("b", "a")], actor=actor)
    eventually(lambda: rig.ledger.begun(str(run), "a"), within=20)
    assert quantum.json("tenant", "suspend", actor.tenant_slug)["state"] == "suspended"
    quantum("tenant", "suspend", actor.tenant_slug)
    rig.open_gate("suspended")
    eventually(lambda: rig.step(run, "a")["state"] == "succeeded", within=20)
    assert executors(rig, 2), "others go on"
    assert rig.step(run, "b")["state"] == "ready"
    quantum("tenant", "resume", actor.tenant_slug)
    rig.ends(run)
    events = rig.rows(
        "SELECT type FROM events WHERE tenant_id = %s AND subject LIKE 'tenants/%%' ORDER BY seq",
        actor.tenant_id,
    )
    assert [each["type"] for each in events] == ["io.quantum.tenant.suspended", "io.quantum.tenant.resumed"]


def test_top_shows_queues_workers_and_the_step_that_runs(rig: Rig, quantum: Quantum) -> None:
    run = rig.submit([held("a", "top")])
    eventually(lambda: rig.ledger.begun(str(run), "a"), within=30)
    found = quantum.json("top")
    [step] = [each for each in found["steps"] if each["run_id"] == str(run)]
    assert (step["key"], step["tries"], step["tenant"]) == ("a", 1, rig.actor.tenant_slug)
    assert step["worker"] in {each["name"] for each in found["workers"]}
    assert [each["running"] for each in found["queues"] if each["queue"] == "default"] == [1]
    drawn = quantum("top", "--once").stdout
    for word in ("Queues", "Workers", "Steps that run longest", "default", "Tenants today"):
        assert word in drawn
    rig.open_gate("top")
    rig.ends(run)


def typed(quantum: Quantum, block: str, places: Mapping[str, str], *, last: bool) -> str:
    """Type a block of commands as it stands, what the capitals stand for put in; return what was printed."""
    shown = []
    for line in block.splitlines():
        words = shlex.split(line)
        assert words[:2] == ["$", "quantum"], line
        command = tuple(places.get(word, word) for word in words[2:])
        if last or command != PROOF:
            shown.append(quantum(*command).stdout)
    return "".join(shown)


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_the_commands_of_each_runbook_do_it(rig: Rig, quantum: Quantum, runbook: Path) -> None:
    blocks = BLOCK.findall(runbook.read_text())
    play = PLAYS[runbook.stem](Scene(rig, quantum)) if runbook.stem in PLAYS else healthy(len(blocks))
    with contextlib.closing(play):
        places = next(play)
        for number, block in enumerate(blocks, 1):
            shown = typed(quantum, block, places, last=number == len(blocks))
            with contextlib.suppress(StopIteration):
                places = play.send(shown)
        assert play.gi_frame is None, "the play has more acts than the page has blocks"
    assert rig.rows("SELECT name FROM holds") == [], "what the runbook closed it opened again"


def test_the_runbooks_are_listed() -> None:
    listed = re.findall(r"\]\(([a-z-]+)\.md\)", (RUNBOOKS[0].parent / "README.md").read_text())
    assert sorted(listed) == [path.stem for path in RUNBOOKS]
