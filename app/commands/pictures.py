"""Pictures of a run: its graph, its Gantt chart, to the screen or into a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from app.client.gantt_pictures import GANTTS
from app.client.graph_pictures import GRAPHS
from app.client.portrait import Portrait, portray
from app.client.watching import look
from app.commands.shell import Shell, tenant_command

_OUTPUT = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Into this file."
)


@click.command("graph")
@click.argument("run_id")
@click.option("--format", "form", type=click.Choice(list(GRAPHS)), default="mermaid", show_default=True)
@_OUTPUT
@tenant_command
def graph(shell: Shell, run_id: str, form: str, output: Path | None) -> None:
    """Draw the graph of a run with states, times, the critical path."""
    _draw(shell, run_id, GRAPHS[form], output)


@click.command("gantt")
@click.argument("run_id")
@click.option("--format", "form", type=click.Choice(list(GANTTS)), default="svg", show_default=True)
@_OUTPUT
@tenant_command
def gantt(shell: Shell, run_id: str, form: str, output: Path | None) -> None:
    """Draw when each step of a run was at work."""
    _draw(shell, run_id, GANTTS[form], output)


def _draw(shell: Shell, run_id: str, renderer: Callable[[Portrait], str], output: Path | None) -> None:
    sight = look(shell.client, run_id)
    drawn = renderer(portray(sight.run, sight.steps, datetime.now(UTC)))
    if output is None:
        click.echo(drawn, nl=False)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{output}: {error.strerror}") from error
