"""How much the platform logs, changed while it runs."""

from __future__ import annotations

from typing import Any

import click

from app.commands.shell import Shell, picked, table, tenant_command
from app.domain.log_levels import LEVELS

_PATH = "/platform/log-levels"
_COLUMNS = ("module", "level", "ends_at", "reason", "changed_by")


@click.group()
def logs() -> None:
    """Log levels by module, of every process, while it runs."""


@logs.command("levels")
@tenant_command
def levels(shell: Shell) -> None:
    """The levels that were set and hold; all else is as each process was started."""
    found = shell.client.get(_PATH)["items"]
    shell.show(found, lambda: _drawn(found))


@logs.command("set")
@click.argument("module")
@click.argument("level", type=click.Choice(LEVELS, case_sensitive=False))
@click.option("--for", "lasts", help="Ends by itself after this: PT15M, or seconds.")
@click.option("--reason", default="", help="Kept in the audit trail.")
@tenant_command
def set_level(shell: Shell, module: str, level: str, lasts: str | None, reason: str) -> None:
    """Set the level of MODULE, such as app.services.relay or root, with all below it."""
    wanted = float(lasts) if lasts is not None and lasts.isdecimal() else lasts
    found = _put(shell, module, {"level": level.upper(), "for": wanted, "reason": reason})
    shell.show(found, lambda: _drawn([found]))


@logs.command("reset")
@click.argument("module", required=False)
@tenant_command
def reset(shell: Shell, module: str | None) -> None:
    """Let MODULE, or everything, log as each process was started."""
    listed = [item["module"] for item in shell.client.get(_PATH)["items"]]
    for name in [module] if module is not None else listed:
        _put(shell, name, {"level": None})
    left = shell.client.get(_PATH)["items"]
    shell.show(left, lambda: _drawn(left))


def _put(shell: Shell, module: str, body: dict[str, Any]) -> dict[str, Any]:
    path = f"{_PATH}/{module}"
    match = shell.client.call("GET", path).headers["ETag"]
    document: dict[str, Any] = shell.client.put(path, body, match=match)
    return document


def _drawn(items: list[dict[str, Any]]) -> Any:
    return table(_COLUMNS, (picked(item, *_COLUMNS) for item in items)) if items else "all as started"
