"""Reading what a step logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from app.client.http import ApiClient
from app.client.progress import ENDED_STEP
from app.client.watching import patiently
from app.commands.shell import Shell, tenant_command
from app.domain.terminal import json_text

POLL_S = 0.5
_PAGE = 200
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}


@click.command("logs")
@click.argument("run_id")
@click.argument("step")
@click.option("--attempt", type=click.IntRange(min=1), help="Only this try of the step.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the step has ended.")
@tenant_command
def logs(shell: Shell, run_id: str, step: str, attempt: int | None, follow: bool) -> None:
    """The lines that a step logged, tries in order; with --follow what comes next."""
    for line in _lines(shell.client, f"/runs/{run_id}/steps/{step}/logs", attempt, follow):
        click.echo(json_text(line) if shell.as_json else _drawn(line))


def _lines(client: ApiClient, path: str, attempt: int | None, follow: bool) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        ask = partial(client.get, path, attempt=attempt, after=cursor, limit=_PAGE)
        page = patiently(ask) if follow and cursor is not None else ask()
        cursor = page["next_cursor"]
        yield from page["items"]
        if page["items"]:
            continue
        if not follow or page["state"] in ENDED_STEP:
            return
        time.sleep(POLL_S)


def _drawn(line: dict[str, Any]) -> str:
    level = line["level"]
    fields = " ".join(f"{key}={_word(value)}" for key, value in (line.get("fields") or {}).items())
    text = f"{line['at']}  {line['attempt']}  {level:<7}  {line['text']}  {fields}".rstrip()
    return click.style(text, fg=_COLOURS.get(level))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)
