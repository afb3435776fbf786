"""The intent types a tenant may declare, each with its compiled plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from app.db import definitions as store
from app.db.engine import Connection
from app.domain.errors import InvalidInput
from app.domain.modules import ModuleRegistry
from app.services.library import WorkflowLibrary
from app.services.manage_pools import COMMON
from app.services.plans import PlanCache, Recent
from workflows.catalog import Catalogue, IntentType
from workflows.parsing import parse_definition
from workflows.plan import Plan, compile_plan
from workflows.specs import Judge, judge_of

KEPT = 1024


@dataclass(frozen=True, slots=True)
class PlannedType:
    """An intent type plus the plan of its workflow; `starts_with_fan` when no message carries a root step.

    `pools` are those that its runs use, beside the one that is everybody's; `pool` is the one whose room a
    run waits for; `common` is what the row of every submission says; `judge` is that of the spec's schema.
    """

    type: IntentType
    plan: Plan
    starts_with_fan: bool
    pools: frozenset[str]
    pool: str
    common: Mapping[str, Any]
    judge: Judge


class TypeBook:
    """Built-in types from the catalogue, the tenant's own from its rows; kept, as versions never change.

    A workflow of the tenant is a type of its own name and version, whose spec is any object, as long as the
    tenant has no type of that name.
    """

    def __init__(self, catalogue: Catalogue, registry: ModuleRegistry, plans: PlanCache) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._plans = plans
        self._kept: Recent[tuple[UUID | None, str, int], PlannedType] = Recent("intent_types", KEPT)
        self._definitions = {(item.name, item.version): item for item in catalogue.workflows}
        self._types = {(item.name, item.version): item for item in catalogue.intent_types}
        self._newest: dict[str, int] = {}
        for name, version in sorted(self._types):
            self._newest[name] = version

    def known(self, tenant_id: UUID, name: str, version: int | None) -> PlannedType | None:
        """Return the type if no look at the tenant's rows is needed: built in, or a version met before."""
        if name not in self._newest:
            return None if version is None else self._kept.peek((tenant_id, name, version))
        return self._kept.peek((None, name, version or self._newest[name]))

    def find(self, connection: Connection, tenant_id: UUID, name: str, version: int | None) -> PlannedType:
        """Return the type, the newest when `version` is None; raises InvalidInput when there is none."""
        if name in self._newest:
            wanted = version or self._newest[name]
            built_in = self._types.get((name, wanted))
            if built_in is None:
                raise _unknown(name, version)
            return self._kept.get((None, name, wanted), partial(self._built_in, built_in))
        if version is not None and (kept := self._kept.peek((tenant_id, name, version))) is not None:
            return kept
        row = store.find_type(connection, tenant_id, name, version)
        if row is None:
            return self._workflow(connection, tenant_id, name, version)
        kind = IntentType(
            row.name,
            row.version,
            row.mode,
            row.description,
            dict(row.spec_schema),
            row.workflow_name,
            row.workflow_version,
        )
        key = (tenant_id, name, kind.version)
        return self._kept.get(key, lambda: self._own(connection, tenant_id, kind))

    def _built_in(self, kind: IntentType) -> PlannedType:
        definition = self._definitions[kind.workflow_name, kind.workflow_version]
        library = WorkflowLibrary(self._catalogue, self._registry)
        return self._planned(kind, compile_plan(definition, self._registry, library))

    def _workflow(
        self, connection: Connection, tenant_id: UUID, name: str, version: int | None
    ) -> PlannedType:
        row = store.find_workflow(connection, tenant_id, name, version)
        if row is None or (version and store.find_type(connection, tenant_id, name, None)):
            raise _unknown(name, version)
        kind = IntentType(name, row.version, "job", "", {"type": "object"}, name, row.version)
        # Not under the key of a type: one that is registered later must be found.
        key = (tenant_id, f"workflow {name}", row.version)
        return self._kept.get(key, lambda: self._own(connection, tenant_id, kind))

    def _own(self, connection: Connection, tenant_id: UUID, kind: IntentType) -> PlannedType:
        definition = self._definitions.get((kind.workflow_name, kind.workflow_version))
        if definition is None:
            row = store.find_workflow(connection, tenant_id, kind.workflow_name, kind.workflow_version)
            if row is None:
                raise _unknown(kind.name, kind.version)
            definition = parse_definition(row.document)
        library = WorkflowLibrary(self._catalogue, self._registry, connection, tenant_id)
        return self._planned(kind, compile_plan(definition, self._registry, library))

    def _planned(self, kind: IntentType, plan: Plan) -> PlannedType:
        for one in plan.family.values():
            self._plans.keep(one)
        common = {
            "type": kind.name,
            "type_version": kind.version,
            "mode": kind.mode,
            "workflow": kind.workflow_name,
            "workflow_version": kind.workflow_version,
            "plan_hash": plan.hash,
            "pool": plan.pool,
            **plan.limits,
        }
        pools = plan.pools - {COMMON}
        judge = judge_of(kind.spec_schema)
        return PlannedType(kind, plan, plan.starts_undecided, pools, plan.pool, common, judge)


def _unknown(name: str, version: int | None) -> InvalidInput:
    label = name if version is None else f"{name} version {version}"
    return InvalidInput.at("/type", "unknown_type", f"there is no intent type, no workflow {label}")
