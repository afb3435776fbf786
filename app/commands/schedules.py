"""Schedules: made from a file, listed, steered."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from app.commands.documents import FILE, read_document
from app.commands.shell import Shell, tenant_command

_COLUMNS = ("id", "name", "type", "state", "overlap", "next_at")
_FIRING = ("scheduled_at", "cause", "outcome", "reason", "run_id")


@click.group()
def schedule() -> None:
    """Declare intents again and again."""


@schedule.command("create")
@FILE
@tenant_command
def create(shell: Shell, path: Path) -> None:
    """Make the schedule in FILE: {name, type, spec, timing, overlap?, catch_up?, catch_up_window_s?, ...}."""
    made = shell.client.post("/schedules", read_document(path))
    shell.show(made, lambda: f"Schedule {made['id']} ({made['name']}) fires next at {made['next_at']}.")


@schedule.command("list")
@click.option("--state", type=click.Choice(["active", "paused", "ended"]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_schedules(shell: Shell, state: str | None, limit: int) -> None:
    """The schedules by name."""
    shell.show_list("/schedules", _COLUMNS, limit=limit, state=state)


@schedule.command("firings")
@click.argument("schedule_id")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def firings(shell: Shell, schedule_id: str, limit: int) -> None:
    """What became of its firings, the latest first."""
    shell.show_list(f"/schedules/{schedule_id}/firings", _FIRING, limit=limit)


@schedule.command("times")
@click.argument("schedule_id")
@click.option("--count", default=10, show_default=True, type=click.IntRange(1, 100))
@tenant_command
def times(shell: Shell, schedule_id: str, count: int) -> None:
    """When it fires next, without jitter."""
    found = shell.client.get(f"/schedules/{schedule_id}/times", count=count)
    shell.show(found, lambda: "\n".join(found["items"]) or "never")


@schedule.command("pause")
@click.argument("schedule_id")
@click.option("--reason", help="Kept with the schedule.")
@tenant_command
def pause(shell: Shell, schedule_id: str, reason: str | None) -> None:
    """Let it fire no more until it is resumed."""
    _steered(shell, schedule_id, "pause", {"reason": reason} if reason else None)


@schedule.command("resume")
@click.argument("schedule_id")
@tenant_command
def resume(shell: Shell, schedule_id: str) -> None:
    """Let it fire again; what fell into the pause is not caught up."""
    _steered(shell, schedule_id, "resume", None)


@schedule.command("trigger")
@click.argument("schedule_id")
@tenant_command
def trigger(shell: Shell, schedule_id: str) -> None:
    """Fire now, beside the timetable."""
    fired = shell.client.post(f"/schedules/{schedule_id}:trigger")
    shell.show(fired, lambda: f"Run {fired['run_id']} was started.")


@schedule.command("backfill")
@click.argument("schedule_id")
@click.option("--from", "start", required=True, type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--to", "end", required=True, type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--per-minute", default=60.0, show_default=True, type=click.FloatRange(0.1, 6_000))
@tenant_command
def backfill(shell: Shell, schedule_id: str, start: datetime, end: datetime, per_minute: float) -> None:
    """Fire for a range of the past, at a rate."""
    body = {"from": start.isoformat(), "to": end.isoformat(), "per_minute": per_minute}
    planned = shell.client.post(f"/schedules/{schedule_id}:backfill", body)
    shell.show(planned, lambda: f"{planned['planned']} firings are planned.")


@schedule.command("delete")
@click.argument("schedule_id")
@tenant_command
def delete(shell: Shell, schedule_id: str) -> None:
    """Delete it with its history; what it started goes on."""
    shell.client.call("DELETE", f"/schedules/{schedule_id}")
    shell.show({"deleted": schedule_id}, lambda: "Deleted.")


def _steered(shell: Shell, schedule_id: str, verb: str, body: Any) -> None:
    row = shell.client.post(f"/schedules/{schedule_id}:{verb}", body)
    shell.show(row, lambda: f"Schedule {row['name']} is {row['state']}.")
