"""Maintenance: work is accepted, none begins."""

from __future__ import annotations

import click

from app.commands.shell import Shell, tenant_command

_COLUMNS = ("active", "reason", "since", "changed_by", "version")
_PATH = "/platform/maintenance"


@click.group()
def maintenance() -> None:
    """Hold the whole platform: accept work, begin none."""


@maintenance.command("show")
@tenant_command
def show(shell: Shell) -> None:
    """Whether the platform is held, by whom, why."""
    document = shell.client.get(_PATH)
    shell.show_one(document, _COLUMNS)


@maintenance.command("on")
@click.option("--reason", required=True, help="Shown in /readyz and by `runs explain`.")
@tenant_command
def on(shell: Shell, reason: str) -> None:
    """From now on no step begins; what runs may end, what comes is accepted."""
    _switch(shell, True, reason)


@maintenance.command("off")
@tenant_command
def off(shell: Shell) -> None:
    """Let everything go on."""
    _switch(shell, False, "")


def _switch(shell: Shell, active: bool, reason: str) -> None:
    found = shell.client.call("GET", _PATH)
    document = shell.client.put(_PATH, {"active": active, "reason": reason}, match=found.headers["ETag"])
    shell.show_one(document, _COLUMNS)
