"""Pools that belong to one tenant, for the platform's administrators."""

from __future__ import annotations

import click

from app.commands.shell import Shell, tenant_command
from app.commands.tenants import id_of


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
@click.argument("tenant")
@tenant_command
def dedicate(shell: Shell, name: str, tenant: str) -> None:
    """Give the pool NAME to TENANT, by slug or id: others' workflows that name it are refused from now on."""
    document = shell.client.put(f"/tenants/{id_of(shell, tenant)}/pools/{name}", None)
    shell.show(document, lambda: f"The pool {name} belongs to {tenant} alone.")


@pool.command("release")
@click.argument("name")
@click.argument("tenant")
@tenant_command
def release(shell: Shell, name: str, tenant: str) -> None:
    """Take the pool NAME from TENANT, by slug or id: everybody may use it again."""
    shell.client.call("DELETE", f"/tenants/{id_of(shell, tenant)}/pools/{name}")
    shell.show({"pool": name, "tenant_id": None}, lambda: f"Everybody may use the pool {name}.")
