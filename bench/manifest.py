"""The works of the benchmark as workflow definitions of one module."""

from __future__ import annotations

from typing import Any

CHAIN, SHORT_CHAIN, FANOUT = "bench.chain5", "bench.chain3", "bench.fanout50"
STEPS = {CHAIN: 5, SHORT_CHAIN: 3, FANOUT: 52}


def _chain(name: str, length: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for number in range(length):
        steps.append(
            {"id": f"s{number}", "uses": "core.echo", "with": {"message": {"ok": True, "n": number}}}
        )
        if number:
            steps[-1]["needs"] = [f"s{number - 1}"]
    return {"name": name, "version": 1, "steps": steps}


def _fanout(name: str, width: int) -> dict[str, Any]:
    middle = [
        {"id": f"m{n}", "uses": "core.echo", "needs": ["head"], "with": {"message": {"ok": True, "n": n}}}
        for n in range(width)
    ]
    head = {"id": "head", "uses": "core.echo", "with": {"message": {"ok": True, "n": 0}}}
    join = {
        "id": "join",
        "uses": "core.echo",
        "needs": [step["id"] for step in middle],
        "with": {"message": {"ok": True, "n": 0}},
    }
    return {"name": name, "version": 1, "steps": [head, *middle, join]}


def _type(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": 1,
        "mode": "job",
        "spec_schema": {"type": "object", "additionalProperties": False},
        "workflow_name": name,
        "workflow_version": 1,
    }


MANIFEST: dict[str, Any] = {
    "name": "bench",
    "version": "1.0.0",
    "description": "No-op works to measure",
    "workflows": [_chain(CHAIN, 5), _chain(SHORT_CHAIN, 3), _fanout(FANOUT, 50)],
    "intent_types": [_type(name) for name in STEPS],
}
