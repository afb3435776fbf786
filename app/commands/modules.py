"""Modules of the tenant: intent types over its workflows."""

from __future__ import annotations

from pathlib import Path

import click

from app.commands.documents import read_document
from app.commands.shell import Shell, picked, table, tenant_command


@click.group()
def module() -> None:
    """Register, list modules; list the intent types that can be submitted."""


@module.command("register")
@click.option("-f", "--file", "path", required=True, type=click.Path(path_type=Path), help="YAML or JSON.")
@tenant_command
def register(shell: Shell, path: Path) -> None:
    """Register the manifest in FILE, its workflows with its intent types: all of it or nothing."""
    document = shell.client.post("/modules", read_document(path))
    shell.show(document, lambda: f"Registered {document['name']} {document['version']}.")


@module.command("list")
@tenant_command
def list_modules(shell: Shell) -> None:
    """The installed modules, those of the tenant."""
    found = list(shell.client.items("/modules"))
    columns = ("name", "version", "source")
    shell.show(found, lambda: table(columns, (picked(item, *columns) for item in found)))


@module.command("types")
@tenant_command
def list_types(shell: Shell) -> None:
    """Every intent type with the workflow that realises it."""
    found = list(shell.client.items("/intent_types"))
    columns = ("name", "version", "workflow_name", "workflow_version")
    shell.show(found, lambda: table(columns, (picked(item, *columns) for item in found)))
