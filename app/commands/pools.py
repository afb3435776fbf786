"""Pools that belong to one tenant, for the platform's administrators."""

from __future__ import annotations

import click

from app.commands.shell import Shell, tenant_command


@click.group()
def pool() -> None:
    """Dedicate pools of workers to tenants."""


@pool.command("list")
@tenant_command
def list_pools(shell: Shell) -> None:
    """The dedicated pools: your tenant's; all of them for a platform administrator."""
    shell.show_list("/pools", ("pool", "tenant_id", "created_at"))


@pool.command("dedicate")
@click.argument("name")
@click.argument("tenant_id")
@tenant_command
def dedicate(shell: Shell, name: str, tenant_id: str) -> None:
    """Give the pool NAME to TENANT_ID: workflows of other tenants that name it are refused from now on."""
    document = shell.client.put(f"/tenants/{tenant_id}/pools/{name}", None)
    shell.show(document, lambda: f"The pool {name} belongs to {tenant_id} alone.")


@pool.command("release")
@click.argument("name")
@click.argument("tenant_id")
@tenant_command
def release(shell: Shell, name: str, tenant_id: str) -> None:
    """Take the pool NAME from TENANT_ID: everybody may use it again."""
    shell.client.call("DELETE", f"/tenants/{tenant_id}/pools/{name}")
    shell.show({"pool": name, "tenant_id": None}, lambda: f"Everybody may use the pool {name}.")
