"""The table of commands: its help is what each says of itself, using one loads little of the others."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from app.cli import main
from app.commands.events import events
from app.commands.lazy import LazyGroup, description

SERVERS_SIDE = ("alembic", "app.bootstrap", "celery", "flask", "psycopg2", "sqlalchemy")
LOADED = """
import sys
from app.cli import main
try:
    main(sys.argv[2:])
finally:
    print("loaded", *sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""


@pytest.mark.parametrize("group", [main, events], ids=lambda group: group.name)
def test_the_help_shows_each_command_by_its_own_words(group: LazyGroup) -> None:
    context = click.Context(group)
    for name, target in group.table.items():
        command = group.get_command(context, name)
        assert command is not None
        shown = click.Command(name, help=description(target)).get_short_help_str(200)
        assert shown == command.get_short_help_str(200) != "", name
    assert group.get_command(context, "nothing") is None


@pytest.mark.parametrize(
    "words", [("--help",), ("runs", "list", "--help"), ("tenant", "list", "--help"), ("events", "--help")]
)
def test_what_goes_over_http_loads_nothing_of_the_servers_side(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, " ".join(SERVERS_SIDE), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "loaded"
