"""The module that the demo's tenants register: the intent types of its shows with their workflows."""

from __future__ import annotations

from typing import Any

LEGS = 16
FAILING_ATTEMPTS = 3

_STOCK = {
    "name": "demo.stock",
    "version": 1,
    "steps": [
        {"id": "prepare", "uses": "core.echo", "with": {"message": "asking ${spec.url}"}},
        {
            "id": "fetch",
            "uses": "http.request",
            "needs": ["prepare"],
            "with": {"url": "${spec.url}", "timeout_s": 5},
            "retry": {"attempts": FAILING_ATTEMPTS, "backoff": 0.2, "factor": 1, "jitter": 0},
        },
        {
            "id": "report",
            "uses": "core.echo",
            "needs": ["fetch"],
            "with": {"message": "${steps.fetch.output.json.stock}"},
        },
    ],
}

_RACE = {
    "name": "demo.race",
    "version": 1,
    "steps": [
        {"id": "start", "uses": "core.wait", "with": {"seconds": 0.2}},
        {
            "id": "leg",
            "uses": "core.wait",
            "needs": ["start"],
            "foreach": list(range(LEGS)),
            "with": {"seconds": "${spec.leg_s}"},
        },
        {
            "id": "join",
            "uses": "core.echo",
            "needs": ["leg"],
            "with": {"message": "${size(steps.leg.output)}"},
        },
        {"id": "cool", "uses": "core.wait", "needs": ["join"], "with": {"seconds": 0.1}},
        {
            "id": "finish",
            "uses": "core.echo",
            "needs": ["cool", "join"],
            "with": {"message": "${steps.join.output.message}"},
        },
    ],
}


def _type(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "version": 1,
        "mode": "job",
        "spec_schema": {
            "type": "object",
            "properties": spec,
            "required": sorted(spec),
            "additionalProperties": False,
        },
        "workflow_name": name,
        "workflow_version": 1,
    }


MANIFEST: dict[str, Any] = {
    "name": "demo",
    "version": "1.0.0",
    "description": "A failing request to repair; a fan-out to break on purpose",
    "workflows": [_STOCK, _RACE],
    "intent_types": [
        _type("demo.stock", {"url": {"type": "string"}}),
        _type("demo.race", {"leg_s": {"type": "number", "minimum": 0}}),
    ],
}
