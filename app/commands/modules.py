"""Modules of the tenant: intent types over its workflows."""

from __future__ import annotations

from pathlib import Path

import click

from app.commands.documents import FILE, register_document
from app.commands.shell import Shell, tenant_command


@click.group()
def module() -> None:
    """Register, list modules; list the intent types that can be submitted."""


@module.command("register")
@FILE
@tenant_command
def register(shell: Shell, path: Path) -> None:
    """Register the manifest in FILE, its workflows with its intent types: all of it or nothing."""
    register_document(shell, "/modules", path)


@module.command("list")
@tenant_command
def list_modules(shell: Shell) -> None:
    """The installed modules, those of the tenant."""
    shell.show_list("/modules", ("name", "version", "source"))


@module.command("types")
@tenant_command
def list_types(shell: Shell) -> None:
    """Every intent type with the workflow that realises it."""
    shell.show_list("/intent_types", ("name", "version", "workflow_name", "workflow_version"))
