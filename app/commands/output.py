"""Downloading what a step left behind."""

from __future__ import annotations

from pathlib import Path

import click

from app.commands.shell import Shell, tenant_command


@click.command("output")
@click.argument("run_id")
@click.argument("step")
@click.option("--artifact", help="Instead of the output: the artifact with this SHA-256 that the step holds.")
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="Into this file.")
@tenant_command
def output(shell: Shell, run_id: str, step: str, artifact: str | None, path: Path | None) -> None:
    """The output of a step, whole, to standard output or into a file."""
    place = f"/runs/{run_id}/steps/{step}/" + (f"artifacts/{artifact}" if artifact else "output")
    pieces = shell.client.download(place)
    if path is None:
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    draft = path.with_name(f".{path.name}.part")
    size = 0
    try:
        with draft.open("wb") as file:
            for piece in pieces:
                size += file.write(piece)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    shell.show({"path": str(path), "bytes": size}, lambda: f"{size} bytes in {path}")
