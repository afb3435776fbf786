"""Following a run on the terminal until it ends."""

from __future__ import annotations

from rich.live import Live

from app.client.drawing import run_tree
from app.client.watching import Sight, watch
from app.commands.shell import Shell


def follow(shell: Shell, run_id: str) -> Sight:
    """Draw the run live until it ends (once, at the end, when the output is no terminal)."""
    if shell.as_json or not shell.console.is_terminal:
        *_, last = watch(shell.client, run_id)
        if not shell.as_json:
            shell.console.print(run_tree(last))
        return last
    with Live(console=shell.console, refresh_per_second=8) as live:
        for sight in watch(shell.client, run_id):
            live.update(run_tree(sight))
    return sight
