"""The platform at a glance, drawn anew every two seconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
from rich.live import Live

from app.client.board import board, look
from app.client.http import ApiUnreachable
from app.commands.shell import Shell, tenant_command


@click.command()
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.5), help="Seconds.")
@click.option("--once", is_flag=True, help="One look, then end; so does --json.")
@tenant_command
def top(shell: Shell, every: float, once: bool) -> None:
    """Queues, workers, tenants, slowest steps, until Ctrl-C; needs a platform administrator's token."""
    first = look(shell.client, _today())
    if once or shell.as_json or not shell.console.is_terminal:
        shell.show(first, lambda: board(first))
        return
    client = shell.client
    with Live(board(first), console=shell.console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                live.update(board(look(client, _today())), refresh=True)
            except ApiUnreachable:
                client = shell.connected()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
