"""The workflows a tenant may run as steps: built-in ones, those it registered."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.db import definitions as store
from app.db.engine import Connection
from app.domain.errors import InvalidInput
from app.domain.modules import ModuleRegistry
from workflows.catalog import Catalogue, IntentType
from workflows.definition import Definition
from workflows.nesting import MAX_FAMILY_STEPS, ChildWorkflow
from workflows.parsing import parse_definition
from workflows.plan import compile_plan


class WorkflowLibrary:
    """Compiles what a definition names, once each; without a connection it has what is built in only.

    What a tenant registered can name only what was there before, so it has no cycles; what is built in could,
    and raises InvalidInput then; so does a family of too many steps.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        registry: ModuleRegistry,
        connection: Connection | None = None,
        tenant_id: UUID | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._connection = connection
        self._tenant_id = tenant_id
        self._found: dict[tuple[str, int], ChildWorkflow] = {}
        self._open: list[tuple[str, int]] = []
        self._steps = 0

    def find(self, name: str, version: int | None) -> ChildWorkflow | None:
        """Return the workflow, the newest version when `version` is None; None when there is none."""
        definition = self._built_in(name, version) or self._own(name, version)
        if definition is None:
            return None
        key = definition.name, definition.version
        if key not in self._found:
            if key in self._open:
                path = " -> ".join(f"{one}@{number}" for one, number in (*self._open, key))
                raise InvalidInput.at("/steps", "cycle", f"the workflows run each other: {path}")
            self._count(len(definition.steps))
            self._open.append(key)
            try:
                plan = compile_plan(definition, self._registry, self)
            finally:
                self._open.pop()
            self._found[key] = ChildWorkflow(plan, self._schema(*key))
        return self._found[key]

    def _count(self, steps: int) -> None:
        """Raise InvalidInput when what is compiled in all would keep the caller waiting."""
        self._steps += steps
        if self._steps > MAX_FAMILY_STEPS:
            message = f"the workflows that it runs have more than {MAX_FAMILY_STEPS} steps in all"
            raise InvalidInput.at("/steps", "too_many_steps", message)

    def _built_in(self, name: str, version: int | None) -> Definition | None:
        found = [one for one in self._catalogue.workflows if one.name == name]
        return _newest([one for one in found if version in (None, one.version)])

    def _own(self, name: str, version: int | None) -> Definition | None:
        if self._connection is None or self._tenant_id is None:
            return None
        row = store.find_workflow(self._connection, self._tenant_id, name, version)
        return None if row is None else parse_definition(row.document)

    def _schema(self, name: str, version: int) -> dict[str, object] | None:
        """Return the schema of the spec, when an intent type names the workflow."""
        types: list[IntentType] = [
            kind
            for kind in self._catalogue.intent_types
            if (kind.workflow_name, kind.workflow_version) == (name, version)
        ]
        if types:
            return max(types, key=lambda kind: kind.version).spec_schema
        if self._connection is None or self._tenant_id is None:
            return None
        row = store.find_type_of(self._connection, self._tenant_id, name, version)
        return None if row is None else dict(row.spec_schema)


def _newest(found: Sequence[Definition]) -> Definition | None:
    return max(found, key=lambda one: one.version, default=None)
