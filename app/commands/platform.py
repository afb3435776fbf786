"""The commands that run the platform on this machine: up, roles, doctor, clean."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from urllib.parse import unquote, urlsplit

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.commands.exits import Exit, told
from app.db.migrate import difference, migrate
from app.runtime.doctor import examine, removable_state
from app.runtime.embedded import EmbeddedServers, running_urls
from app.runtime.failure import RuntimeFailure
from app.runtime.ports import port_is_free
from app.runtime.postgres import ROLES, create_database, create_roles
from app.runtime.supervisor import Supervisor, child_environment, read_procfile
from app.settings import Settings, inherited_environment, load_settings
from app.settings.servers import wants_embedded
from app.settings.state import OUTSIDE, state_directory

COLOURS = ("cyan", "green", "yellow", "magenta", "blue")
SIGNS = {"ok": Text("✓", "green"), "note": Text("·", "yellow"), "bad": Text("✗", "red")}


@click.command()
@told
def up() -> None:
    """Start everything: servers unless the environment names some, migrations, the Procfile's processes."""
    environ = inherited_environment()
    state = state_directory(environ)
    with contextlib.ExitStack() as stack:
        servers: EmbeddedServers | None = None
        if wants_embedded(environ):
            if running_urls(state):
                raise RuntimeFailure(f"the platform is already up over {state}")
            load_settings_early(environ)
            servers = EmbeddedServers(state)
            stack.callback(servers.stop)
            servers.start()
            environ.update(servers.urls)
        settings = load_settings(environ)
        if not port_is_free(settings.api_port):
            raise RuntimeFailure(f"port {settings.api_port} is taken: set API_PORT to another")
        migrate(settings.database_owner_url)
        output = _Printer()
        output("system", f"API http://{settings.api_host}:{settings.api_port}/api/v1/docs")
        output("system", f"live feed {settings.feed_url}/api/v1/events/stream")
        output("system", f"Flower http://{settings.flower_host}:{settings.flower_port}")
        output("system", "stop with Ctrl-C")
        if sys.stdout.isatty():
            environ.setdefault("LOG_FORMAT", "console")  # the processes see a pipe, people read it
        specs = [spec for spec in read_procfile() if spec.name != "receiver" or settings.backups.log]
        supervisor = Supervisor(specs, child_environment(environ, state), output)
        supervisor.run(also=servers.mend if servers is not None else lambda: None)
        output("system", "stopped")


def load_settings_early(environ: Mapping[str, str]) -> None:
    """Refuse wrong variables before any server is started for them."""
    stand_in = {
        name: f"postgresql://{name.lower()}@localhost/quantum"
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SYSTEM_URL")
    }
    load_settings({**environ, **stand_in, "REDIS_URL": "redis://localhost", "QUANTUM_EMBEDDED": "1"})


@click.command()
@click.option("--admin-url", envvar="DATABASE_ADMIN_URL", required=True, help="A role that may create roles.")
@told
def roles(admin_url: str) -> None:
    """Create the three roles with the database on a server of your own, as the database URLs name them."""
    settings = load_settings(inherited_environment())
    passwords = role_passwords(settings)
    create_roles(admin_url, passwords)
    database = urlsplit(settings.database_owner_url).path.lstrip("/")
    made = create_database(admin_url, database)
    click.echo(f"roles {', '.join(ROLES)}: ready; database {database}: {'created' if made else 'was there'}")


def role_passwords(settings: Settings) -> dict[str, str]:
    """Return each role's password from its URL; raises `RuntimeFailure` when a URL names another role."""
    urls = (settings.database_owner_url, settings.database_url, settings.database_system_url)
    passwords: dict[str, str] = {}
    for role, url in zip(ROLES, urls, strict=True):
        parts = urlsplit(url)
        if parts.username != role or not parts.password:
            raise RuntimeFailure(f"the URL of {role} must be postgresql://{role}:password@host/name")
        passwords[role] = unquote(parts.password)
    return passwords


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told
def doctor(as_json: bool) -> None:
    """Say what is used, what is missing, how to mend it; exit 1 when something stops the platform."""
    findings = examine(inherited_environment(), difference)
    bad = any(finding.state == "bad" for finding in findings)
    if as_json:
        click.echo(
            json.dumps({"ok": not bad, "findings": [asdict(finding) for finding in findings]}, indent=2)
        )
    else:
        table = Table.grid(padding=(0, 2))
        for overflow in ("ignore", "ignore", "fold", "fold"):
            table.add_column(overflow=overflow, no_wrap=overflow == "ignore")
        for finding in findings:
            mend = Text(f"→ {finding.mend}" if finding.mend else "", "dim")
            table.add_row(SIGNS[finding.state], finding.subject, finding.found, mend)
        Console(highlight=False, markup=False, emoji=False).print(table)
    sys.exit(Exit.FAILED if bad else Exit.OK)


@click.command()
@told
def clean() -> None:
    """Remove this checkout's state: the embedded servers' data, generated keys, logs."""
    state = removable_state(inherited_environment())
    if not state.exists():
        click.echo(f"there is no {state}")
        return
    shutil.rmtree(state)
    if state.parent == OUTSIDE and not any(OUTSIDE.iterdir()):
        OUTSIDE.rmdir()
    click.echo(f"removed {state}")


class _Printer:
    """Writes whole lines, each with the coloured name of its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colours: dict[str, str] = {"system": "white"}

    def __call__(self, name: str, line: str) -> None:
        with self._lock:
            colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
            click.echo(f"{click.style(f'{name:<7}│', fg=colour)} {line}")
