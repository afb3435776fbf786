"""Feature flags as operators handle them: shown, set, killed, overridden for a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db import flags, tenants, trail
from app.db.engine import Connection, Database
from app.db.flags import FlagState, Override
from app.db.trail import Mark
from app.domain.errors import NotFound, PreconditionFailed
from app.domain.flags import FLAGS, Flag, FlagRule
from app.domain.identity import Actor
from app.services.flags import Switches


@dataclass(frozen=True, slots=True)
class FlagView:
    """A flag as declared, as set, with the first hundred of its overrides."""

    flag: Flag
    state: FlagState
    overrides: tuple[Override, ...] = ()

    @property
    def document(self) -> Mapping[str, Any]:
        """The view as the API shows it."""
        return {
            "name": self.flag.name,
            "description": self.flag.description,
            "default": self.flag.default,
            "killed": self.state.rule.killed,
            "percentage": self.state.rule.percentage,
            "reason": self.state.reason,
            "version": self.state.version,
            "updated_at": self.state.updated_at,
            "overrides": self.overrides,
        }


def list_flags(platform: Database) -> list[FlagView]:
    """Return every declared flag."""
    with platform.system() as connection:
        found = flags.states(connection)
        return [FlagView(flag, found.get(name, FlagState())) for name, flag in sorted(FLAGS.items())]


def show_flag(platform: Database, name: str) -> FlagView:
    """Return a flag with its overrides; raises NotFound."""
    _declared(name)
    with platform.system() as connection:
        return _view(connection, name)


def set_flag(
    platform: Database, actor: Actor, name: str, version: int | None, rule: FlagRule, reason: str
) -> FlagView:
    """Replace the rule of a flag; felt within 5 seconds. Raises NotFound, PreconditionFailed."""
    with platform.system() as connection:
        _locked(connection, name, version)
        flags.set_rule(connection, name, rule, reason)
        detail = {"killed": rule.killed, "percentage": rule.percentage, "reason": reason}
        trail.leave(
            connection, actor.tenant_id, actor.as_json(), Mark("flag.set", f"flags/{name}", detail=detail)
        )
        return _view(connection, name)


def override_flag(
    platform: Database, actor: Actor, name: str, tenant_id: UUID, enabled: bool | None, reason: str
) -> FlagView:
    """Say what holds for one tenant, or with None that the rule does; raises NotFound.

    The tenant's own audit trail tells it as well.
    """
    with platform.system() as connection:
        _locked(connection, name, None)
        if tenants.find(connection, tenant_id) is None:
            raise NotFound("no such tenant")
        if enabled is None:
            changed = flags.clear_override(connection, name, tenant_id)
        else:
            flags.set_override(connection, name, tenant_id, enabled, reason)
            changed = True
        if changed:
            flags.touch(connection, name)
            detail = {"tenant_id": str(tenant_id), "enabled": enabled, "reason": reason}
            mark = Mark("flag.override", f"flags/{name}", detail=detail)
            for told in dict.fromkeys((actor.tenant_id, tenant_id)):
                trail.leave(connection, told, actor.as_json(), mark)
        return _view(connection, name)


def present_flags(switches: Switches, actor: Actor) -> dict[str, bool]:
    """Return which flags are on for the caller's tenant."""
    return {name: switches.on(name, actor.tenant_id) for name in sorted(FLAGS)}


def _declared(name: str) -> Flag:
    if name not in FLAGS:
        raise NotFound("no such flag")
    return FLAGS[name]


def _locked(connection: Connection, name: str, version: int | None) -> None:
    _declared(name)
    present = flags.lock(connection, name)
    if version is not None and version != present.version:
        raise PreconditionFailed(f"the flag is at version {present.version}")


def _view(connection: Connection, name: str) -> FlagView:
    state = flags.states(connection).get(name, FlagState())
    return FlagView(_declared(name), state, tuple(flags.overrides(connection, name)))
