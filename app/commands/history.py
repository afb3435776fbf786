"""What happened to a run: live, or as a list."""

from __future__ import annotations

from typing import Any

import click

from app.commands.follow import follow
from app.commands.shell import Exit, Shell, picked, table, tenant_command

_COLUMNS = ("at", "name", "step", "tries", "who", "cause")


@click.command("timeline")
@click.argument("run_id")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@tenant_command
def timeline(shell: Shell, run_id: str, limit: int) -> None:
    """Every transition, the first first: events, attempts, what people did."""
    found = list(shell.client.items(f"/runs/{run_id}/timeline", limit=limit))
    shell.show(found, lambda: table(_COLUMNS, (_row(each) for each in found)))


@click.command("watch")
@click.argument("run_id")
@tenant_command
def watch_run(shell: Shell, run_id: str) -> None:
    """The steps live until the run ends; exit 1 unless it succeeds."""
    settle(shell, {"id": run_id}, True)


def settle(shell: Shell, run: dict[str, Any], wait: bool) -> None:
    """Report a run that was started; with `wait` follow it, exit 1 unless it succeeds."""
    if not wait:
        shell.show(run, lambda: f"Run {run['id']} is {run['state']}.")
        return
    sight = follow(shell, run["id"])
    if shell.as_json:
        shell.show({**sight.run, "steps": list(sight.steps)}, str)
    if sight.run["state"] != "succeeded":
        raise SystemExit(Exit.FAILED)


def _row(each: dict[str, Any]) -> tuple[Any, ...]:
    who = each["actor"] or {}
    name = " via ".join(part for part in (who.get("email"), who.get("via")) if part)
    return (*picked(each, "at", "name", "step", "tries"), name or each["worker"], each["cause"])
