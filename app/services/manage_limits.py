"""The share of each tenant with its limits: set by the platform, read by the tenant."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from app.db import caps, dedicated_pools, limits, tenants, trail
from app.db.engine import Connection, Database
from app.db.limits import Limits
from app.db.trail import Mark
from app.domain.caps import USUAL, CapUse
from app.domain.errors import NotFound, PreconditionFailed
from app.domain.identity import Actor, is_allowed


def show_limits(platform: Database, database: Database, actor: Actor, tenant_id: UUID) -> Limits:
    """Return the limits of the caller's tenant; of any, for those who may read tenants. Raises NotFound."""
    if tenant_id != actor.tenant_id and not is_allowed(actor, "tenants:read"):
        raise NotFound("no such tenant")
    with platform.system() as connection:
        _must_exist(connection, tenant_id)
        found = _with_pools(connection, tenant_id, limits.find(connection, tenant_id))
    return _with_uses(database, tenant_id, found)


def change_limits(
    platform: Database,
    database: Database,
    actor: Actor,
    tenant_id: UUID,
    version: int | None,
    wanted: Limits,
) -> Limits:
    """Set share and limits together; raises NotFound, PreconditionFailed.

    What runs goes on when a limit falls below it: nothing more is admitted until enough has ended. A new or
    lower limit of steps holds from the next step of each run on. What is kept beyond a lower cap stays.
    """
    with platform.system() as connection:
        _must_exist(connection, tenant_id)
        present = limits.lock(connection, tenant_id)
        if version is not None and version != present.version:
            raise PreconditionFailed(f"the limits are at version {present.version}")
        changed = _with_pools(connection, tenant_id, limits.change(connection, tenant_id, wanted))
        detail = {
            "weight": changed.weight,
            "max_running_runs": changed.max_running_runs,
            "max_running_steps": changed.max_running_steps,
            "caps": dict(changed.caps),
        }
        mark = Mark("tenant.limits", f"tenants/{tenant_id}", "tenant.limits_changed", detail)
        trail.leave(connection, tenant_id, actor.as_json(), mark)
        if actor.tenant_id != tenant_id:
            trail.leave(
                connection, actor.tenant_id, actor.as_json(), Mark(mark.action, mark.subject, detail=detail)
            )
        narrower = _is_narrower(changed.max_running_steps, present.max_running_steps)
        gated = limits.runs_under_way(connection, tenant_id) if narrower else []
    for run_id in gated:
        # One commit each: who holds a run may wait for a place, so nobody holds many runs.
        with platform.system() as connection:
            limits.gate_run(connection, tenant_id, run_id)
    return _with_uses(database, tenant_id, changed)


def _is_narrower(wanted: int | None, present: int | None) -> bool:
    return wanted is not None and (present is None or wanted < present)


def _with_pools(connection: Connection, tenant_id: UUID, found: Limits) -> Limits:
    return replace(found, pools=dedicated_pools.own(connection, tenant_id))


def _with_uses(database: Database, tenant_id: UUID, found: Limits) -> Limits:
    """Return the limits with what the tenant keeps, which it alone may count."""
    with database.tenant(tenant_id) as connection:
        uses = caps.uses(connection, tenant_id)
    told = {kind: CapUse(found.caps.get(kind, usual), usual, uses[kind]) for kind, usual in USUAL.items()}
    return replace(found, cap_uses=told)


def _must_exist(connection: Connection, tenant_id: UUID) -> None:
    if tenants.find(connection, tenant_id) is None:
        raise NotFound("no such tenant")
