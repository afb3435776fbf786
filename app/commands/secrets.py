"""The tenant's secrets, write-only."""

from __future__ import annotations

import sys

import click

from app.commands.keys import abandon, list_keys, rewrap
from app.commands.shell import Shell, tenant_command


@click.group()
def secrets() -> None:
    """Set, list secrets; no command reads one back. Look after the keys that seal them."""


@secrets.command("set")
@click.argument("name")
@click.option("--value-stdin", is_flag=True, help="Read the value from standard input, no prompt.")
@tenant_command
def set_secret(shell: Shell, name: str, value_stdin: bool) -> None:
    """Store a value that workflows use as ${secrets.NAME}."""
    value = sys.stdin.read().rstrip("\n") if value_stdin else click.prompt("Value", hide_input=True)
    document = shell.client.put(f"/secrets/{name}", {"value": value})
    shell.show(document, lambda: f"Secret {name} is stored.")


@secrets.command("list")
@tenant_command
def list_secrets(shell: Shell) -> None:
    """Names and versions."""
    shell.show_list("/secrets", ("name", "version", "updated_at"))


for _command in (list_keys, rewrap, abandon):
    secrets.add_command(_command)
