"""Reading the event feed."""

from __future__ import annotations

from collections import deque
from typing import Any

import click

from app.client.feed import Follower
from app.commands.lazy import LazyGroup
from app.commands.shell import Shell, tenant_command
from app.domain.terminal import json_text, visible

BESIDE_THE_API = {
    "consume": "app.commands.consume:consume",
    "sinks": "app.commands.event_sinks:sinks",
    "forget-sink": "app.commands.event_sinks:forget_sink",
    "replay": "app.commands.event_sinks:replay",
    "dead": "app.commands.event_sinks:dead",
}


@click.group(cls=LazyGroup, table=BESIDE_THE_API)
def events() -> None:
    """Read events: a tenant's feed, a sink's group; at the operator's shell: look after the sinks."""


@events.command("tail")
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0, 10_000))
@click.option("--after", type=click.IntRange(0), help="Start after this position, not LINES events back.")
@click.option("--type", "types", multiple=True, help="Only this type, such as run.failed, run.*; repeatable.")
@click.option("--subject", help="Only this subject, e.g. runs/<id>.")
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted, by the live feed.")
@tenant_command
def tail(
    shell: Shell, lines: int, after: int | None, types: tuple[str, ...], subject: str | None, follow: bool
) -> None:
    """The last events, oldest first; with --follow what comes next."""
    follower = Follower(shell.connected, after or 0, types, subject, missed=_tell_gap)
    found = follower.present()
    last = list(found) if after is not None else list(deque(found, maxlen=lines))
    _print(shell, last)
    if follow:
        for event in follower.events():
            _print(shell, [event])


def _tell_gap(after: int, upto: int) -> None:
    click.echo(f"Some events between positions {after} and {upto} are kept no longer.", err=True)


def _print(shell: Shell, items: list[dict[str, Any]]) -> None:
    for event in items:
        if shell.as_json:
            click.echo(json_text(event))
        else:
            click.echo(visible(f"{event.get('time')}  {event.get('type')}  {event.get('subject')}"))
