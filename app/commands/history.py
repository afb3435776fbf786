"""What happened to a run: as a list, or live after a command."""

from __future__ import annotations

from typing import Any

import click

from app.commands.exits import Exit
from app.commands.follow import follow
from app.commands.shell import Shell, tenant_command

_COLUMNS = 5


@click.command("timeline")
@click.argument("run_id")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@tenant_command
def timeline(shell: Shell, run_id: str, limit: int) -> None:
    """Every transition, the first first: events, attempts, what people did."""
    found = list(shell.client.items(f"/runs/{run_id}/timeline", limit=limit))
    if shell.as_json:
        shell.show(found, str)
        return
    widths = [max((len(row[place]) for row in map(_row, found)), default=0) for place in range(_COLUMNS)]
    for row in map(_row, found):  # line by line, as wide as they are: a terminal's width would cut them
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


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


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    who = each["actor"] or {}
    name = " via ".join(part for part in (who.get("email"), who.get("via")) if part)
    tries = f" (try {each['tries']})" if each["tries"] else ""
    step = f"{each['step']}{tries}" if each["step"] else ""
    cause = " ".join(str(each["cause"] or "").split())
    return (each["at"], each["name"], step, name or each["worker"] or "", cause)
