"""The illnesses of the runbooks: each made on a platform that works, watched, seen to be cured."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.bootstrap.stores import build_database
from app.security.key_ring import KeyRing, key_id
from app.security.secret_box import SecretBox
from app.services.manage_secrets import put_secret
from app.services.submit import Submission, submit_intents
from tests.support.processes import is_alive
from tests.support.rig import Rig, held, note
from tests.support.shell import Quantum
from tests.support.waiting import eventually

HOST = socket.gethostname()
EXECUTORS = {f"{each}@{HOST}" for each in ("one", "two")}
SLOTS = 4
FLOOD = 40
"""More than the platform admits at once on so few processes."""
LOST = b"a key that nobody keeps anywhere"

Play = Generator[dict[str, str], str, None]
"""Yields before each block of commands what its capitals stand for; is sent what the commands printed."""


@dataclass(frozen=True)
class Scene:
    """A platform, its administrator at the shell."""

    rig: Rig
    quantum: Quantum

    def submit(self, steps: list[dict[str, Any]], name: str) -> str:
        """Submit a run of these steps in the administrator's own tenant; return its id."""
        document = self.rig.folder / f"{name}.yaml"
        document.write_text(json.dumps({"name": name, "version": 1, "steps": steps}))
        self.quantum("workflow", "register", "-f", str(document))
        document.write_text(json.dumps({"type": name, "spec": {}}))
        return str(self.quantum.json("intent", "submit", "-f", str(document))["run"]["id"])

    def failed(self, operation: str, gate: str, name: str) -> str:
        """Return a run of one step "a" that fails as long as its gate is closed."""
        run = self.submit([{"id": "a", "uses": operation, "with": {"gate": gate}}], name)
        self.rig.ends(UUID(run), "failed", within=60)
        return run

    def goes_on(self, run: str) -> None:
        """Wait until a run that had failed has succeeded."""
        eventually(lambda: self.rig.state(UUID(run)) == "succeeded", within=45, what="the run goes on")


def holding(rig: Rig, gate: str, **more: object) -> tuple[UUID, str]:
    """Submit a run that holds at a gate; return it with the worker that executes it."""
    run = rig.submit([held("a", gate, **more), note("b", "a")])
    eventually(lambda: rig.ledger.begun(str(run), "a"), within=20)
    return run, str(rig.step(run, "a")["worker"])


def told(rig: Rig, name: str) -> dict[str, Any]:
    """Return the row of the live worker of this name."""
    (found,) = rig.rows(
        "SELECT heeds, jsonb_array_length(children) AS processes FROM workers"
        " WHERE hostname = %s AND state = 'live'",
        name,
    )
    return found


@contextlib.contextmanager
def gate(rig: Rig, name: str) -> Iterator[None]:
    """Open the gate in the end, also when the play is broken off: what holds there would hold up others."""
    try:
        yield
    finally:
        rig.open_gate(name)


def line_of(shown: str, *words: str) -> str:
    """Return the one line of what was printed that has all these words."""
    (found,) = [line for line in shown.splitlines() if all(word in line.split() for word in words)]
    return found


def healthy(blocks: int) -> Play:
    """Nothing is ill, the commands of so many blocks do no harm."""
    for _ in range(blocks):
        yield {"WORKER": f"one@{HOST}"}


def a_step_hangs(scene: Scene) -> Play:
    """Its operation heeds nothing; the runbook's last commands come one right after the other."""
    rig = scene.rig
    with gate(rig, "hangs"):
        run, name = holding(rig, "hangs", **{"with": {"gate": "hangs", "deaf": True}})
        first = rig.step(run, "a")
        shown = yield {"WORKER": name}
        line_of(shown, str(run), name, rig.actor.tenant_slug)
        line_of(shown, name, "live", "default")
        yield {"WORKER": name}
        eventually(lambda: rig.step(run, "a")["tries"] == 2, within=20, what="it runs again")
        assert rig.step(run, "a")["kills"] == 0, "no step becomes poison by an operator"
        eventually(lambda: not is_alive(first["lease_pid"]), within=40, what="the process that hung is free")
    rig.ends(run)


def a_tenant_floods(scene: Scene) -> Play:
    """Its steps fill every process for good, so many others wait in the broker that nobody else gets in."""
    rig, noisy, quiet = scene.rig, scene.rig.tenant(), scene.rig.tenant()
    flow = {"name": "test.flood", "version": 1, "steps": [held("a", "flood")]}
    submitted = submit_intents(rig.deps(flow), noisy, [Submission("test.flood", {})] * FLOOD)
    flood = [one.run_id for one in submitted if one.run_id is not None]
    mine = "SELECT count(*) AS n FROM run_steps WHERE tenant_id = %s AND state::text = 'running'"

    def running() -> int:
        return int(rig.rows(mine, noisy.tenant_id)[0]["n"])

    with gate(rig, "flood"):
        eventually(lambda: running() == SLOTS, within=20)
        waits = rig.submit([note("a")], actor=quiet)
        places = {"TENANT": noisy.tenant_slug, "WORKER": f"one@{HOST}"}
        shown = yield places
        assert shown.count(noisy.tenant_slug) >= SLOTS, "its steps are those that run"
        assert rig.step(waits, "a")["started_at"] is None
        yield places
        rig.ends(waits)
        assert running() <= SLOTS // 2, "what nobody took back goes on"
        yield places
    for run in flood:
        rig.ends(run)


def steps_failed(scene: Scene) -> Play:
    """Something outside was away; it is back before the runs are let go."""
    runs = [scene.failed("testkit.fail_without", "outside", f"hands.parked{n}") for n in range(2)]
    shown = yield {"CODE": "gate_closed"}
    for run in runs:
        line_of(shown, run, "a", "gate_closed")
    scene.rig.open_gate("outside")
    yield {"CODE": "gate_closed"}
    for run in runs:
        scene.goes_on(run)


def a_step_kills(scene: Scene) -> Play:
    """Its operation kills each process that runs it, until it is mended."""
    run = scene.failed("testkit.die_without", "mended", "hands.poison")
    places = {"RUN": run, "STEP": "a"}
    shown = yield places
    line_of(shown, run, "a", "poisoned")
    scene.rig.open_gate("mended")
    yield places
    scene.goes_on(run)


def a_disk_is_full(scene: Scene) -> Play:
    """The artifacts' disk has no room."""
    run = scene.failed("testkit.find_disk_full", "room", "hands.full")
    assert scene.rig.step(UUID(run), "a")["error"]["code"] == "artifact_store_full"
    yield {}
    scene.rig.open_gate("room")
    yield {}
    scene.goes_on(run)


def a_key_is_lost(scene: Scene) -> Play:
    """A tenant's secrets hang on a key that the platform does not have."""
    rig, missing = scene.rig, key_id(LOST)
    actor = rig.tenant()
    put_secret(SecretBox(KeyRing((LOST,))), build_database(rig.settings), actor, "T", "for good", None)
    shown = yield {"KEY_ID": missing}
    line_of(shown, missing, "missing")
    yield {"KEY_ID": missing}
    assert rig.rows("SELECT 1 FROM tenant_keys WHERE kek_id = %s", missing) == []


def a_mistake_is_taken_back(scene: Scene) -> Play:
    """A row was changed by mistake after the backup; the platform's processes are still connected."""
    rig, quantum = scene.rig, scene.quantum
    actor = rig.tenant()
    quantum("backup", "create")  # that of beat may be older than whoever has signed in here
    rig.rows("UPDATE tenants SET name = 'by mistake' WHERE id = %s", actor.tenant_id)
    yield {}
    assert "of quantum_app (quantum-app, " in quantum("backup", "restore", "--replace", code=5).stderr
    yield {}
    (found,) = rig.rows("SELECT name FROM tenants WHERE id = %s", actor.tenant_id)
    assert found["name"] == actor.tenant_slug
    # The rows of live workers are not brought back: each writes its own anew when it next beats.
    eventually(lambda: {each["name"] for each in quantum.json("workers", "list")} >= EXECUTORS, within=30)


def an_endpoint_is_gone(scene: Scene) -> Play:
    """A webhook of the administrator's own tenant."""
    made = scene.quantum.json("webhooks", "create", "gone", "https://gone.example/x", "--type", "run.*")["id"]
    yield {"WEBHOOK": made}
    yield {"WEBHOOK": made}
    assert scene.rig.rows("SELECT state FROM webhooks WHERE id = %s", UUID(made)) == [{"state": "active"}]
    scene.quantum("webhooks", "delete", made)


def beat_has_made_one(scene: Scene) -> Play:
    """The backup of this day, which beat has asked for, is there."""
    eventually(
        lambda: scene.rig.rows("SELECT 1 FROM backups WHERE verified_at IS NOT NULL"),
        within=120,
        what="the backup of this day, which beat has asked for",
    )
    yield {}
    yield {}


PLAYS: Mapping[str, Callable[[Scene], Play]] = {
    "backup-old": beat_has_made_one,
    "dead-letters": steps_failed,
    "disk-full": a_disk_is_full,
    "lost-key": a_key_is_lost,
    "noisy-tenant": a_tenant_floods,
    "poison-job": a_step_kills,
    "restore": a_mistake_is_taken_back,
    "webhooks-late": an_endpoint_is_gone,
    "worker-stuck": a_step_hangs,
}
