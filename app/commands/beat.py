"""Beat's lanes: which goes on, which is stuck at what."""

from __future__ import annotations

import click

from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = ("lane", "name", "last_at", "late_s", "last_error")


@click.command()
@tenant_command
def beat(shell: Shell) -> None:
    """Every job of beat by lane: when any beat began it last, how many seconds it is overdue."""
    found = shell.client.get("/platform/beat")["items"]
    jobs = [
        {**job, "lane": lane["name"], "late_s": round(job["late_s"], 1)}
        for lane in found
        for job in lane["jobs"]
    ]
    shell.show(found, lambda: table(_COLUMNS, (picked(job, *_COLUMNS) for job in jobs)))
