"""Pools dedicated to one tenant: given by the platform, refused to everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from app.db import dedicated_pools as store
from app.db import tenants, trail
from app.db.dedicated_pools import DedicatedPool
from app.db.engine import Connection, Database
from app.db.trail import Mark
from app.domain.errors import Conflict, Fault, InvalidInput, NotFound
from app.domain.identity import Actor, is_allowed
from app.domain.paging import Page, PageRequest
from workflows.definition import Definition, StepDefinition
from workflows.nesting import Library, known_child
from workflows.plan import Plan

COMMON: Final = "default"
"""The pool that everybody may use."""


def list_pools(platform: Database, actor: Actor, wanted: PageRequest) -> Page[DedicatedPool]:
    """Return the dedicated pools by name: all of them to those who may read tenants, else the caller's."""
    everybody = is_allowed(actor, "tenants:read")
    with platform.system() as connection:
        return store.page(connection, wanted, None if everybody else actor.tenant_id)


def dedicate_pool(platform: Database, actor: Actor, tenant_id: UUID, pool: str) -> DedicatedPool:
    """Give a pool to the tenant; doing it twice changes nothing.

    What other tenants had submitted before runs to its end there. Raises NotFound for the tenant,
    InvalidInput for the pool that all use, Conflict when the pool belongs to another tenant.
    """
    if pool == COMMON:
        raise InvalidInput.at("/path/pool", "reserved", f"the pool {COMMON} is everybody's")
    with platform.system() as connection:
        if tenants.find(connection, tenant_id) is None:
            raise NotFound("no such tenant")
        changed = store.add(connection, tenant_id, pool)
        kept = store.find(connection, pool)
        if kept is None or kept.tenant_id != tenant_id:
            raise Conflict(f"the pool {pool} belongs to another tenant", "pool_dedicated")
        if changed:
            _audit(connection, actor, tenant_id, "pool.dedicate", pool)
        return kept


def release_pool(platform: Database, actor: Actor, tenant_id: UUID, pool: str) -> None:
    """Let everybody use the pool again; raises NotFound when the tenant does not have it."""
    with platform.system() as connection:
        if not store.remove(connection, tenant_id, pool):
            raise NotFound("the tenant has no such pool")
        _audit(connection, actor, tenant_id, "pool.release", pool)


def check_pools(
    connection: Connection, tenant_id: UUID, definition: Definition, plan: Plan, library: Library
) -> None:
    """Raise InvalidInput with each step whose pool belongs to another tenant."""
    taken = taken_pools(connection, tenant_id, plan.pools)
    if taken:
        raise InvalidInput(tuple(_faults(definition, plan, library, taken)))


def refuse_pools(connection: Connection, tenant_id: UUID, plan: Plan) -> None:
    """Raise InvalidInput when a step of the plan, or of one below it, is for a pool of another tenant."""
    refused = taken_pools(connection, tenant_id, plan.pools)
    if refused:
        raise pool_refused(refused)


def refuse_pools_of_run(connection: Connection, tenant_id: UUID, run_id: UUID) -> None:
    """Do the same for the plan of a run; a run that is not there is somebody else's to tell."""
    refused = taken_pools(connection, tenant_id, store.pools_of_run(connection, tenant_id, run_id))
    if refused:
        raise pool_refused(refused)


def taken_pools(connection: Connection, tenant_id: UUID, pools: frozenset[str]) -> frozenset[str]:
    """Return those of the pools that belong to another tenant; asks nothing about the common one alone."""
    named = pools - {COMMON}
    return store.foreign(connection, tenant_id, named) if named else frozenset()


def pool_refused(taken: frozenset[str]) -> InvalidInput:
    """Return the error of a submission whose workflow names such pools."""
    faults = (Fault("/type", "pool_dedicated", _message(pool)) for pool in sorted(taken))
    return InvalidInput(tuple(faults), "The workflow of the type cannot run.")


def _faults(definition: Definition, plan: Plan, library: Library, taken: frozenset[str]) -> Iterator[Fault]:
    undo = {step.undoes: step.queue for step in plan.undo}
    below: dict[str, list[str]] = {}
    for index, step in enumerate(definition.steps):
        at = f"/steps/{index}"
        if step.workflow is not None:
            child = known_child(step, library).plan
            if child.hash not in below:
                below[child.hash] = sorted(child.pools & taken)
            for pool in below[child.hash]:
                yield Fault(f"{at}/workflow", "pool_dedicated", _message(pool))
        elif plan.step(step.id).queue in taken:
            yield _fault(step, at, plan.step(step.id).queue)
        if step.compensate is not None and undo[step.id] in taken:
            yield _fault(step.compensate, f"{at}/compensate", undo[step.id])


def _fault(step: StepDefinition, at: str, pool: str) -> Fault:
    """Return the fault of a step: where it names the pool, else at the operation whose pool it is."""
    return Fault(f"{at}/queue" if step.queue else f"{at}/uses", "pool_dedicated", _message(pool))


def _message(pool: str) -> str:
    return f"the pool {pool} is dedicated to another tenant"


def _audit(connection: Connection, actor: Actor, tenant_id: UUID, action: str, pool: str) -> None:
    mark = Mark(action, f"tenants/{tenant_id}", detail={"pool": pool})
    for owner in {tenant_id, actor.tenant_id}:
        trail.leave(connection, owner, actor.as_json(), mark)
