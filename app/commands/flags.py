"""Feature flags on the command line."""

from __future__ import annotations

import click
from rich.console import Group

from app.commands.shell import Shell, picked, table, tenant_command
from app.commands.tenants import id_of

COLUMNS = ("name", "default", "killed", "percentage", "reason", "version")


@click.group()
def flags() -> None:
    """Look at feature flags, set them."""


@flags.command("list")
@click.option("--mine", is_flag=True, help="What is on for your tenant; needs no platform role.")
@tenant_command
def list_flags(shell: Shell, mine: bool) -> None:
    """Every flag with its rule; needs a platform administrator's token."""
    if mine:
        present = shell.client.get("/flags")["flags"]
        shell.show(
            present, lambda: table(("name", "on"), [(name, on) for name, on in sorted(present.items())])
        )
        return
    found = shell.client.get("/platform/flags")["items"]
    shell.show_all(found, COLUMNS)


@flags.command("show")
@click.argument("name")
@tenant_command
def show_flag(shell: Shell, name: str) -> None:
    """A flag's rule, then its overrides."""
    found = shell.client.get(f"/platform/flags/{name}")
    columns = ("tenant_id", "enabled", "reason", "updated_at")
    rule = table(COLUMNS, [picked(found, *COLUMNS)])
    overrides = table(columns, (picked(item, *columns) for item in found["overrides"]))
    shell.show(found, lambda: Group(rule, overrides) if found["overrides"] else rule)


@flags.command("set")
@click.argument("name")
@click.option("--kill", is_flag=True, help="Off for everybody, whatever else is said.")
@click.option("--percentage", type=click.FloatRange(0, 100), help="On for this share of the tenants.")
@click.option("--reason", required=True, help="Kept in the audit trail.")
@tenant_command
def set_flag(shell: Shell, name: str, kill: bool, percentage: float | None, reason: str) -> None:
    """Replace a flag's rule: without --kill and --percentage the declared default holds again."""
    path = f"/platform/flags/{name}"
    match = shell.client.call("GET", path).headers["ETag"]
    body = {"killed": kill, "percentage": percentage, "reason": reason}
    found = shell.client.put(path, body, match=match)
    shell.show_one(found, COLUMNS)


@flags.command("override")
@click.argument("name")
@click.argument("tenant")
@click.argument("value", type=click.Choice(["on", "off", "clear"]))
@click.option("--reason", required=True, help="Kept in the audit trail.")
@tenant_command
def override_flag(shell: Shell, name: str, tenant: str, value: str, reason: str) -> None:
    """Say that a flag is on or off for TENANT, by slug or id; `clear` lets the rule hold again."""
    body = {"enabled": {"on": True, "off": False, "clear": None}[value], "reason": reason}
    found = shell.client.put(f"/platform/flags/{name}/tenants/{id_of(shell, tenant)}", body)
    shell.show(found, lambda: f"{name} is {value if value != 'clear' else 'as its rule says'} for {tenant}.")
