"""Whole graphs through the API: each recorded dependency is respected, told from the rows."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.settings import inherited_environment
from tests.support.http_api import Caller, start_platform
from tests.support.rig import Rig
from workflows.wfformat import read_wfformat

WORK_S = 2.0
"""Seconds of waiting that the steps of one recorded workflow are scaled to, all together."""
RECORDED = inherited_environment().get("WFINSTANCES", "")


@pytest.fixture(scope="module")
def caller(rig: Rig) -> Caller:
    return start_platform(rig.settings).tenant()[1]


def generated(seed: int) -> dict[str, Any]:
    """Return a random graph of thirty steps, most of which no chain or chord carries whole."""
    chance = random.Random(seed)
    steps: list[dict[str, Any]] = []
    for index in range(30):
        width = min(index, chance.choice((0, 1, 1, 2, 3)))
        needs = [step["id"] for step in chance.sample(steps[-8:], min(width, len(steps[-8:])))]
        seconds = round(chance.random() * 0.03, 3)
        steps.append({"id": f"s{index}", "uses": "core.wait", "needs": needs, "with": {"seconds": seconds}})
    return {"name": f"generated.seed{seed}", "version": 1, "steps": steps}


def recorded(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    seconds = sum(task.get("runtimeInSeconds", 0) for task in document["workflow"]["execution"]["tasks"])
    name = "recorded." + path.stem.lower().replace("-", "_")
    return read_wfformat(document, name=name, scale=WORK_S / seconds)


def cases() -> list[Any]:
    found = [pytest.param(generated, seed, id=f"generated-{seed}") for seed in range(3)]
    if RECORDED:
        files = sorted(Path(RECORDED).glob("*.json"))
        assert files, f"WFINSTANCES={RECORDED} holds no recorded workflow"
        found += [pytest.param(recorded, path, id=path.stem) for path in files]
    return found


def submit(caller: Caller, workflow: Mapping[str, Any]) -> UUID:
    """Register the workflow with an intent type of its own, and submit one intent."""
    name = str(workflow["name"])
    kind = {
        "name": name,
        "version": 1,
        "mode": "job",
        "description": "",
        "spec_schema": {"type": "object"},
        "workflow_name": name,
        "workflow_version": 1,
    }
    manifest = {
        "name": name.replace(".", "_")[:60],
        "version": "1",
        "workflows": [workflow],
        "intent_types": [kind],
    }
    made = caller.post("/modules", manifest)
    assert made.status_code == 201, made.text
    accepted = caller.post("/intents", {"type": name, "spec": {}})
    assert accepted.status_code == 202, accepted.text
    return UUID(accepted.get_json()["run"]["id"])


@pytest.mark.parametrize(("make", "source"), cases())
def test_every_dependency_is_respected(rig: Rig, caller: Caller, make: Any, source: Any) -> None:
    workflow = make(source)
    run = submit(caller, workflow)
    rig.ends(run, within=60)
    steps = rig.steps(run)
    assert {row["state"] for row in steps.values()} == {"succeeded"}
    assert all(row["tries"] == 1 for row in steps.values())
    early = [
        f"{step['id']} began before {need} ended"
        for step in workflow["steps"]
        for need in step.get("needs", ())
        if steps[step["id"]]["started_at"] < steps[need]["finished_at"]
    ]
    assert early == []
