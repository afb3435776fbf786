"""The queues: how much is to be done, how long it waits, who does it."""

from __future__ import annotations

import click

from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = (
    "queue",
    "depth",
    "sent",
    "running",
    "unsent",
    "waiting_runs",
    "oldest_s",
    "oldest_run_s",
    "workers",
    "slots",
)


@click.command()
@tenant_command
def queues(shell: Shell) -> None:
    """Every queue: messages in the broker, steps and waiting runs by rows, ages in seconds, workers."""
    found = shell.client.get("/platform/queues")["items"]
    shown = [
        {
            **each,
            **{
                name: None if each[name] is None else round(each[name], 1)
                for name in ("oldest_s", "oldest_run_s")
            },
        }
        for each in found
    ]
    shell.show(found, lambda: table(_COLUMNS, (picked(each, *_COLUMNS) for each in shown)))
