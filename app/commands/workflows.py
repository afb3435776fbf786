"""Workflow definitions."""

from __future__ import annotations

from pathlib import Path

import click

from app.commands.documents import FILE, register_document
from app.commands.shell import Shell, tenant_command


@click.group()
def workflow() -> None:
    """Register, list workflow definitions."""


@workflow.command("register")
@FILE
@tenant_command
def register(shell: Shell, path: Path) -> None:
    """Register the definition in FILE; a registered version never changes."""
    register_document(shell, "/workflows", path)


@workflow.command("list")
@tenant_command
def list_workflows(shell: Shell) -> None:
    """Every definition the tenant can use."""
    shell.show_list("/workflows", ("name", "version", "created_at"))
