"""A reader of recorded workflows in WfFormat 1.5, as published by WfCommons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.domain.errors import InvalidInput
from workflows.builder import Workflow

_ID = re.compile(r"[^a-z0-9_]+")


def read_wfformat(
    document: Mapping[str, Any], *, name: str, scale: float, cap_s: float = 3600.0
) -> dict[str, Any]:
    """Return a workflow document that waits as long as each recorded task ran, with the same dependencies.

    Seconds are multiplied by `scale`, and at most `cap_s`. A dependency counts when either end states it.
    Raises InvalidInput when the document has no tasks or names one that is not there.
    """
    try:
        tasks = document["workflow"]["specification"]["tasks"]
        runs = document["workflow"].get("execution", {}).get("tasks", [])
        runtimes = {run["id"]: float(run.get("runtimeInSeconds", 0)) for run in runs}
        ids = {task["id"]: _step_id(index, task["id"]) for index, task in enumerate(tasks)}
        needs = _needs(tasks)
        flow = Workflow(name, 1)
        for task in tasks:
            flow.step(
                ids[task["id"]],
                "core.wait",
                needs=[ids[need] for need in needs[task["id"]]],
                seconds=round(min(runtimes.get(task["id"], 0.0) * scale, cap_s), 3),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput.at("/workflow", "wfformat", f"not a WfFormat 1.5 document: {error!r}") from error
    return flow.document()


def _needs(tasks: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the parents of each task in recorded order, without repeats."""
    needs: dict[str, dict[str, None]] = {task["id"]: dict.fromkeys(task.get("parents", ())) for task in tasks}
    for task in tasks:
        for child in task.get("children", ()):
            needs[child][task["id"]] = None
    return {task: list(parents) for task, parents in needs.items()}


def _step_id(index: int, task: str) -> str:
    """Return a legal id that still shows the recorded one; the index keeps it unique."""
    return f"t{index}_{_ID.sub('_', task.lower())}"[:63]
