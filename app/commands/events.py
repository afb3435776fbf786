"""Reading the event feed."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from app.commands.shell import Shell, tenant_command

POLL_S = 0.5
_PAGE = 200


@click.group()
def events() -> None:
    """Read the tenant's events."""


@events.command("tail")
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0, 10_000))
@click.option("--after", help="Start after this cursor instead of the last LINES events.")
@click.option("--subject", help="Only this subject, e.g. runs/<id>.")
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@tenant_command
def tail(shell: Shell, lines: int, after: str | None, subject: str | None, follow: bool) -> None:
    """The last events, oldest first; with --follow what comes next."""
    cursor = after
    last: list[dict[str, Any]] = []
    while True:
        page = shell.client.get("/events", after=cursor, limit=_PAGE, subject=subject)
        last += page["items"]
        cursor = page.get("next_cursor") or cursor
        if len(page["items"]) < _PAGE:
            break
        if after is None:
            last = last[-lines:] if lines else []
    _print(shell, last if after is not None else last[-lines:] if lines else [])
    while follow:
        time.sleep(POLL_S)
        page = shell.client.get("/events", after=cursor, limit=_PAGE, subject=subject)
        cursor = page.get("next_cursor") or cursor
        _print(shell, page["items"])


def _print(shell: Shell, items: list[dict[str, Any]]) -> None:
    for event in items:
        if shell.as_json:
            click.echo(json.dumps(event, ensure_ascii=False))
        else:
            click.echo(f"{event.get('time')}  {event.get('type')}  {event.get('subject')}")
