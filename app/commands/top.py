"""The platform at a glance, drawn anew every two seconds."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime

import click
from rich.live import Live

from app.client.board import board, look, looks
from app.commands.shell import Shell, tenant_command


@click.command()
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.5), help="Seconds.")
@click.option("--once", is_flag=True, help="One look, then end; so does --json.")
@tenant_command
def top(shell: Shell, every: float, once: bool) -> None:
    """Queues, workers, tenants, slowest steps, until Ctrl-C; needs a platform administrator's token.

    While the API gives no answer what was seen last stays, with the reason.
    """
    sights = looks(lambda: look(shell.client, _today()), lambda: time.sleep(every))
    first, _ = next(sights)
    if once or shell.as_json or not shell.console.is_terminal:
        shell.show(first, lambda: board(first))
        return
    drawn = Live(board(first), console=shell.console, screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), drawn as live:  # which is the way to end it
        for seen, away in sights:
            live.update(board(seen, away), refresh=True)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
