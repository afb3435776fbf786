"""The table of commands: its help is what each says of itself, using one loads little of the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from app.commands.events import events
from app.commands.exits import Exit
from app.commands.lazy import LazyGroup, description
from app.runtime.ports import free_port

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


def test_a_worker_a_relay_a_deliverer_load_no_web_framework_no_migrations() -> None:
    imports = "import sys, app.bootstrap.celery, app.commands.deliver, app.commands.relay"
    unused = {"alembic", "flask", "marshmallow", "app.api", "app.feed"}
    told = f"{imports}; print(*sorted({unused!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "words",
    [
        ("migrate",),
        ("migrate", "--plan"),
        ("up",),
        ("roles", "--admin-url", "postgresql://postgres:p@127.0.0.1:9/postgres"),
        ("projections", "verify"),
        ("events", "sinks"),
        ("tenant", "create", "--first", "--email", "a@example.org", "--password-stdin"),
    ],
    ids=" ".join,
)
def test_a_database_that_is_away_is_told_in_a_line(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, role in (("DATABASE", "app"), ("DATABASE_OWNER", "owner"), ("DATABASE_SYSTEM", "system")):
        monkeypatch.setenv(f"{name}_URL", f"postgresql://quantum_{role}:p@127.0.0.1:9/quantum")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("QUANTUM_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("API_PORT", str(free_port()))
    done = CliRunner().invoke(main, words, input="0123456789\n")
    assert done.exit_code == Exit.UNAVAILABLE, done.output
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Connection refused" in told
    assert "Traceback" not in done.output
