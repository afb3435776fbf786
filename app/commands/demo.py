"""The demo as a command."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from app.runtime.demo.play import play
from app.settings import inherited_environment


@click.command()
@click.option("--full", is_flag=True, help="The longer show.")
def demo(full: bool) -> None:
    """Show the main job end to end on this machine, each claim checked; exits 1 when one is not so."""
    sys.exit(play(inherited_environment(), Console(highlight=False), full))
