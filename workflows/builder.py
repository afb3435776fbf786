"""The Python way to write a workflow document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from workflows.definition import Definition
from workflows.parsing import parse_definition

Need = str | Mapping[str, str]
"""The id of a step, or `{"step": id, "on": "success" | "failure" | "always"}`."""


class Workflow:
    """Collects steps; `document()` is the same data that YAML would give.

    >>> flow = Workflow("greet", 1)
    >>> hello = flow.step("hello", "core.echo", message="${spec.name}")
    >>> flow.step("again", "core.echo", needs=[hello], message="${steps.hello.output.message}")
    'again'
    """

    def __init__(
        self,
        name: str,
        version: int,
        description: str = "",
        *,
        deadline: str | float | None = None,
        queue_timeout: str | float | None = None,
        on_failure: str | None = None,
    ) -> None:
        given = {
            "description": description or None,
            "deadline": deadline,
            "queue_timeout": queue_timeout,
            "on_failure": on_failure,
        }
        self._head: dict[str, Any] = {"name": name, "version": version}
        self._head |= {key: value for key, value in given.items() if value is not None}
        self._steps: list[dict[str, Any]] = []

    def step(
        self,
        id: str,
        uses: str,
        *,
        needs: Sequence[Need] = (),
        when: str | None = None,
        foreach: str | Sequence[Any] | None = None,
        max_parallel: int | None = None,
        retry: Mapping[str, float] | None = None,
        timeout: float | None = None,
        queue: str | None = None,
        cache: bool | None = None,
        continue_on_failure: bool = False,
        compensate: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        **more_inputs: Any,
    ) -> str:
        """Add a step and return its id; keyword arguments beyond the options become its `with`.

        `timeout` is in seconds, `compensate` is `{"uses": ..., "with": ...}`; with `cache=False` the step
        never uses an earlier result of a cacheable operation. `inputs` serves names that are options too.
        """
        options = {
            "needs": list(needs) or None,
            "when": when,
            "foreach": foreach if foreach is None or isinstance(foreach, str) else list(foreach),
            "max_parallel": max_parallel,
            "retry": dict(retry) if retry is not None else None,
            "timeout": timeout,
            "queue": queue,
            "cache": cache,
            "continue_on_failure": continue_on_failure or None,
            "compensate": dict(compensate) if compensate is not None else None,
            "with": {**(inputs or {}), **more_inputs} or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        self._steps.append({"id": id, "uses": uses, **given})
        return id

    def wait(
        self,
        id: str,
        wait: Mapping[str, Any],
        *,
        needs: Sequence[Need] = (),
        when: str | None = None,
        continue_on_failure: bool = False,
    ) -> str:
        """Add a step that waits and return its id: `wait` is `{"for": "PT5M"}`, `until` or `signal`."""
        options = {
            "needs": list(needs) or None,
            "when": when,
            "continue_on_failure": continue_on_failure or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        self._steps.append({"id": id, "wait": dict(wait), **given})
        return id

    def call(
        self,
        id: str,
        workflow: str,
        *,
        needs: Sequence[Need] = (),
        when: str | None = None,
        foreach: str | Sequence[Any] | None = None,
        max_parallel: int | None = None,
        retry: Mapping[str, float] | None = None,
        timeout: float | None = None,
        continue_on_failure: bool = False,
        compensate: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a step that is a run of another workflow, `name` or `name@version`, and return its id.

        `timeout` is the deadline of that run in seconds; `retry` lets it go on where it failed.
        """
        options = {
            "needs": list(needs) or None,
            "when": when,
            "foreach": foreach if foreach is None or isinstance(foreach, str) else list(foreach),
            "max_parallel": max_parallel,
            "retry": dict(retry) if retry is not None else None,
            "timeout": timeout,
            "continue_on_failure": continue_on_failure or None,
            "compensate": dict(compensate) if compensate is not None else None,
            "with": dict(spec or {}) or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        self._steps.append({"id": id, "workflow": workflow, **given})
        return id

    def output(self, **values: Any) -> None:
        """Say what a run gives back when it has ended well; values may hold expressions."""
        self._head["output"] = {**self._head.get("output", {}), **values}

    def chain(self, *ids: str) -> None:
        """Make each step need the one before it; raises KeyError for an id that was not added."""
        steps = {step["id"]: step for step in self._steps}
        for need, step in pairwise(ids):
            needs = steps[step].setdefault("needs", [])
            if need not in [other if isinstance(other, str) else other["step"] for other in needs]:
                needs.append(need)

    def document(self) -> dict[str, Any]:
        """Return the workflow document as JSON data."""
        return {**self._head, "steps": [dict(step) for step in self._steps]}

    def definition(self) -> Definition:
        """Return the parsed definition; raises InvalidInput with the place of each fault."""
        return parse_definition(self.document())
