"""The share of each tenant with its limits: set by the platform, read by the tenant."""

from __future__ import annotations

from uuid import UUID

from app.db import limits, tenants, trail
from app.db.engine import Connection, Database
from app.db.limits import Limits
from app.db.trail import Mark
from app.domain.errors import NotFound, PreconditionFailed
from app.domain.identity import Actor, is_allowed


def show_limits(platform: Database, actor: Actor, tenant_id: UUID) -> Limits:
    """Return the limits of the caller's tenant; of any, for those who may read tenants. Raises NotFound."""
    if tenant_id != actor.tenant_id and not is_allowed(actor, "tenants:read"):
        raise NotFound("no such tenant")
    with platform.system() as connection:
        _must_exist(connection, tenant_id)
        return limits.find(connection, tenant_id)


def change_limits(
    platform: Database, actor: Actor, tenant_id: UUID, version: int | None, wanted: Limits
) -> Limits:
    """Set share and limits together; raises NotFound, PreconditionFailed.

    What runs goes on when a limit falls below it: nothing more is admitted until enough has ended.
    """
    with platform.system() as connection:
        _must_exist(connection, tenant_id)
        present = limits.lock(connection, tenant_id)
        if version is not None and version != present.version:
            raise PreconditionFailed(f"the limits are at version {present.version}")
        changed = limits.change(connection, tenant_id, wanted)
        detail = {"weight": changed.weight, "max_running_runs": changed.max_running_runs}
        mark = Mark("tenant.limits", f"tenants/{tenant_id}", "tenant.limits_changed", detail)
        trail.leave(connection, tenant_id, actor.as_json(), mark)
        if actor.tenant_id != tenant_id:
            trail.leave(
                connection, actor.tenant_id, actor.as_json(), Mark(mark.action, mark.subject, detail=detail)
            )
        return changed


def _must_exist(connection: Connection, tenant_id: UUID) -> None:
    if tenants.find(connection, tenant_id) is None:
        raise NotFound("no such tenant")
