"""Steps that failed for good: looked at, replayed."""

from __future__ import annotations

import click
from rich.console import Group
from rich.pretty import Pretty

from app.commands.history import settle
from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = ("run_id", "key", "operation", "tries", "parked_at")
_ATTEMPT = ("tries", "attempt", "round", "state", "worker", "finished_at")


@click.group()
def dead_letters() -> None:
    """List, show, replay steps that failed for good."""


@dead_letters.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_dead_letters(shell: Shell, limit: int) -> None:
    """The latest first."""
    found = list(shell.client.items("/dead-letters", limit=limit))
    rows = ((*picked(item, *_COLUMNS), (item["error"] or {}).get("code")) for item in found)
    shell.show(found, lambda: table((*_COLUMNS, "error"), rows))


@dead_letters.command("show")
@click.argument("run_id")
@click.argument("step")
@tenant_command
def show_dead_letter(shell: Shell, run_id: str, step: str) -> None:
    """One dead letter with its input, the error of every attempt."""
    found = shell.client.get(f"/dead-letters/{run_id}/{step}")
    rows = ((*picked(each, *_ATTEMPT), each["error"]) for each in found["attempts"])
    shell.show(found, lambda: Group(Pretty(found["input"]), table((*_ATTEMPT, "error"), rows)))


@dead_letters.command("replay")
@click.argument("run_id")
@click.argument("step")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 when it does not succeed.")
@tenant_command
def replay_dead_letter(shell: Shell, run_id: str, step: str, wait: bool) -> None:
    """Retry the run from this step alone."""
    settle(shell, shell.client.post(f"/dead-letters/{run_id}/{step}:replay"), wait)
