"""The platform's own tenant, made over the database."""

from __future__ import annotations

from app.bootstrap.stores import build_platform
from app.commands.exits import Exit
from app.commands.shell import Shell
from app.domain.errors import Conflict, Unavailable
from app.domain.identity import PLATFORM_SLUG
from app.services.manage_tenants import create_platform_tenant
from app.settings import SettingsError, inherited_environment, load_settings


def create_first(shell: Shell, name: str, email: str, password: str) -> dict[str, str]:
    """Make the tenant with its administrator; leaves with a documented exit code when it cannot."""
    try:
        platform = build_platform(load_settings(inherited_environment()))
        made = create_platform_tenant(platform, name, email, password)
    except SettingsError as wrong:
        shell.stop("; ".join(wrong.faults), Exit.USAGE)
    except Conflict:
        shell.stop(f"the platform's tenant exists already: its slug is {PLATFORM_SLUG}", Exit.CONFLICT)
    except Unavailable as away:
        shell.stop(str(away), Exit.UNAVAILABLE)
    return {"id": str(made.id), "slug": made.slug, "name": made.name}
