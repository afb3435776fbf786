"""Triggers: made from a file, listed, steered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from app.commands.documents import FILE, read_document
from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = ("id", "name", "source", "types", "type", "state")
_FIRING = ("created_at", "event_id", "type", "outcome", "reason", "depth", "run_id")


@click.group()
def triggers() -> None:
    """Declare intents when events happen, or when signed messages come in."""


@triggers.command("create")
@FILE
@tenant_command
def create(shell: Shell, path: Path) -> None:
    """Make the trigger in FILE: {name, on: {types, filter?} or {source: inbound}, type, spec, ...}."""
    document = read_document(path)
    made = shell.client.call("POST", "/triggers", body=document).document
    shell.show(made, lambda: _made(made))


@triggers.command("list")
@click.option("--state", type=click.Choice(["active", "paused"]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_triggers(shell: Shell, state: str | None, limit: int) -> None:
    """The triggers by name."""
    found = list(shell.client.items("/triggers", limit=limit, state=state))
    rows = [{**item, **item["on"], "types": " ".join(item["on"]["types"])} for item in found]
    shell.show(found, lambda: table(_COLUMNS, (picked(row, *_COLUMNS) for row in rows)))


@triggers.command("firings")
@click.argument("trigger_id")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def firings(shell: Shell, trigger_id: str, limit: int) -> None:
    """What it decided, the latest first."""
    shell.show_list(f"/triggers/{trigger_id}/firings", _FIRING, limit=limit)


@triggers.command("pause")
@click.argument("trigger_id")
@click.option("--reason", help="Kept with the trigger.")
@tenant_command
def pause(shell: Shell, trigger_id: str, reason: str | None) -> None:
    """Let it hear nothing until it is resumed."""
    _steered(shell, trigger_id, "pause", {"reason": reason} if reason else None)


@triggers.command("resume")
@click.argument("trigger_id")
@tenant_command
def resume(shell: Shell, trigger_id: str) -> None:
    """Let it hear what happens from now on."""
    _steered(shell, trigger_id, "resume", None)


@triggers.command("rotate")
@click.argument("trigger_id")
@click.option("--overlap-s", default=86_400, show_default=True, help="How long both secrets are taken.")
@tenant_command
def rotate(shell: Shell, trigger_id: str, overlap_s: int) -> None:
    """Give it a new secret, shown this once."""
    path, headers = f"/triggers/{trigger_id}:rotate-secret", {"If-Match": "*"}
    made = shell.client.call("POST", path, body={"overlap_s": overlap_s}, headers=headers).document
    shell.show(made, lambda: f"The new secret, shown this once: {made['secret']}")


@triggers.command("delete")
@click.argument("trigger_id")
@tenant_command
def delete(shell: Shell, trigger_id: str) -> None:
    """Delete it with its history; what it started goes on."""
    shell.client.call("DELETE", f"/triggers/{trigger_id}")
    shell.show({"deleted": trigger_id}, lambda: "Deleted.")


def _made(made: dict[str, Any]) -> str:
    told = f"Trigger {made['id']} ({made['name']}) is made."
    if made["secret"]:
        told += f"\nMessages go to {made['path']}\nTheir secret, shown this once: {made['secret']}"
    return told


def _steered(shell: Shell, trigger_id: str, verb: str, body: Any) -> None:
    row = shell.client.post(f"/triggers/{trigger_id}:{verb}", body)
    shell.show(row, lambda: f"Trigger {row['name']} is {row['state']}.")
