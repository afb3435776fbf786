"""Consuming events outside of the platform, with an inbox that drops repeats."""

from __future__ import annotations

import functools
import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from app.commands.exits import Exit, told
from app.consumers.handling import Handling, HandlingRules
from app.consumers.opening import hub_consumer, stream_consumer
from app.consumers.silence import ReceiverSilent
from app.db.inbox import Inbox
from app.domain.terminal import json_text
from app.observability.logging import configure_logging
from app.runtime.embedded import running_urls
from app.settings import inherited_environment
from app.settings.state import state_directory

_PREFIX = "io.quantum."
GAP = "relay.gap"


class CommandFailed(Exception):
    """The command that handles an event ended with a status other than 0."""


@click.command()
@click.option("--sink", required=True, type=click.Choice(("redis", "eventhubs")), help="Where to read.")
@click.option("--group", required=True, help="The consumer group; its members share the work.")
@click.option("--type", "types", multiple=True, help="Only this type, such as run.failed, run.*; repeatable.")
@click.option(
    "--tenant-id", "tenants", multiple=True, type=click.UUID, help="Only of this tenant; repeatable."
)
@click.option("--exec", "command", help="Run for each event, the event on its standard input; 0 is handled.")
@click.option(
    "--inbox", "place", help="postgresql://…, or a file of SQLite. Default: in the state directory."
)
@click.option("--from-now", is_flag=True, help="A new group begins with what comes next.")
@click.option("--attempts", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option("--until-idle", type=click.FloatRange(0.1), help="End when nothing came for so many seconds.")
@click.option("--redis-url", envvar="REDIS_URL", help="Default: the running embedded server's.")
@click.option("--hub", envvar="EVENT_HUB_CONNECTION_STRING", help="Better given as the variable: a secret.")
@click.option("--hub-name", envvar="EVENT_HUB_NAME", default="quantum-events", show_default=True)
@click.option("--storage", envvar="AZURE_STORAGE_CONNECTION_STRING", help="Where checkpoints of a hub are.")
@click.option("--container", default="quantum-checkpoints", show_default=True)
@told
def consume(sink: str, group: str, place: str | None, until_idle: float | None, **given: Any) -> None:
    """Handle each event of a sink once: print it as a line of JSON, or run a command for it.

    Handled events are noted in the inbox in one transaction with the handling, so a repeat is dropped; an
    event that fails again and again is parked there. Ends in order on SIGTERM.
    """
    configure_logging("WARNING", "json", process="consumer")
    inbox = Inbox(place or _default_inbox(group), group)
    inbox.prepare()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    handling = Handling(
        inbox,
        functools.partial(_run, shlex.split(given["command"])) if given["command"] else _print,
        stop,
        time.monotonic,
        HandlingRules(attempts=given["attempts"]),
        functools.partial(_fits, given["types"], given["tenants"]),
    )
    idle = _Idle(handling, until_idle) if until_idle else lambda: False
    try:
        _consumer(sink, group, handling, given).run(idle)
    except ReceiverSilent as silent:
        click.echo(f"error: {silent}", err=True)
        sys.exit(Exit.UNAVAILABLE)
    finally:
        inbox.close()
        click.echo(
            ", ".join(f"{count} {name}" for name, count in handling.counts.items()) or "none", err=True
        )
    sys.exit(Exit.FAILED if handling.counts["parked"] else Exit.OK)


class _Idle:
    """Says when nothing was taken for so many seconds."""

    def __init__(self, handling: Handling, seconds: float) -> None:
        self._handling, self._seconds = handling, seconds
        self._total, self._since = 0, handling.clock()

    def __call__(self) -> bool:
        total, now = self._handling.counts.total(), self._handling.clock()
        if total != self._total:
            self._total, self._since = total, now
        return now - self._since >= self._seconds


def _consumer(sink: str, group: str, handling: Handling, given: Mapping[str, Any]) -> Any:
    if sink == "redis":
        url = given["redis_url"] or running_urls(state_directory(inherited_environment())).get("REDIS_URL")
        if not url:
            raise click.UsageError("set REDIS_URL: no embedded server runs here")
        chosen = {"tenants": given["tenants"], "from_now": given["from_now"]}
        return stream_consumer(url, group, handling, **chosen)
    if not given["hub"] or not given["storage"]:
        raise click.UsageError("set EVENT_HUB_CONNECTION_STRING, AZURE_STORAGE_CONNECTION_STRING")
    chosen = {"container": given["container"], "from_now": given["from_now"]}
    return hub_consumer(given["hub"], given["hub_name"], group, given["storage"], handling, **chosen)


def _default_inbox(group: str) -> str:
    folder = state_directory(inherited_environment()) / "consumers"
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in group)
    return str(Path(folder) / f"{name}.db")


def _fits(types: Sequence[str], tenants: Sequence[UUID], event: Mapping[str, Any]) -> bool:
    """Whether the event is wanted; gap markers always are: they tell that one is missing."""
    if tenants and event.get("tenantid") not in {str(one) for one in tenants}:
        return False
    name = str(event.get("type", "")).removeprefix(_PREFIX)
    short = [one.removeprefix(_PREFIX) for one in types]
    return (
        not short
        or name == GAP
        or any(name.startswith(one[:-1]) if one.endswith(".*") else name == one for one in short)
    )


def _print(_: Any, event: Mapping[str, Any]) -> None:
    click.echo(json_text(event))
    sys.stdout.flush()


def _run(command: Sequence[str], _: Any, event: Mapping[str, Any]) -> None:
    """Run the command with the event; it is noted as handled when the command ended with 0."""
    done = subprocess.run(command, input=json.dumps(event).encode(), check=False)  # noqa: S603 - the user's own command
    if done.returncode:
        raise CommandFailed(f"{command[0]} ended with {done.returncode}")
