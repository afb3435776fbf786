"""Workflow definitions."""

from __future__ import annotations

from pathlib import Path

import click

from app.commands.documents import read_document
from app.commands.shell import Shell, tenant_command


@click.group()
def workflow() -> None:
    """Register, list workflow definitions."""


@workflow.command("register")
@click.option("-f", "--file", "path", required=True, type=click.Path(path_type=Path), help="YAML or JSON.")
@tenant_command
def register(shell: Shell, path: Path) -> None:
    """Register the definition in FILE; a registered version never changes."""
    document = shell.client.post("/workflows", read_document(path))
    shell.show(document, lambda: f"Registered {document['name']} {document['version']}.")


@workflow.command("list")
@tenant_command
def list_workflows(shell: Shell) -> None:
    """Every definition the tenant can use."""
    found = list(shell.client.items("/workflows"))
    columns = ("name", "version", "created_at")
    shell.show_all(found, columns)
