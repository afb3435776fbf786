"""Declaring intents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from app.commands.documents import FILE, json_or_text, read_document
from app.commands.history import settle
from app.commands.shell import Shell, tenant_command


@click.group()
def intent() -> None:
    """Submit, list intents."""


@intent.command("submit")
@FILE
@click.option("--set", "overrides", multiple=True, metavar="KEY=JSON", help="Override a member of the spec.")
@click.option("--idempotency-key", help="The same key submits once, however often it is sent.")
@click.option("--deadline", help="The run fails unless it ends within this: PT2H, or seconds.")
@click.option("--queue-timeout", help="The run fails unless it begins within this: PT5M, or seconds.")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 when it does not succeed.")
@tenant_command
def submit(
    shell: Shell,
    path: Path,
    overrides: tuple[str, ...],
    idempotency_key: str | None,
    wait: bool,
    **limits: str | None,
) -> None:
    """Declare the intent in FILE: {type, spec, name?, labels?, priority?, deadline?, queue_timeout?...}."""
    body = read_document(path)
    if not isinstance(body, dict):
        raise click.UsageError(f"{path}: expected one intent (a mapping)")
    for override in overrides:
        key, _, text = override.partition("=")
        body.setdefault("spec", {})[key] = json_or_text(text)
    body |= {name: json_or_text(value) for name, value in limits.items() if value is not None}
    document = shell.client.post("/intents", body, idempotency_key=idempotency_key)
    if not wait:
        shell.show(document, lambda: _accepted(document))
        return
    if not shell.as_json:
        shell.console.print(_accepted(document))
    settle(shell, document["run"], wait=True)


@intent.command("list")
@click.option("--phase", help="Only intents in this phase.")
@click.option("--type", "type_name", help="Only this intent type.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_intents(shell: Shell, phase: str | None, type_name: str | None, limit: int) -> None:
    """The newest intents first."""
    shell.show_list(
        "/intents",
        ("id", "type", "name", "phase", "generation", "created_at"),
        limit=limit,
        phase=phase,
        type=type_name,
    )


def _accepted(document: dict[str, Any]) -> str:
    declared, run = document["intent"], document["run"]
    return f"Accepted: intent {declared['id']} ({declared['type']}), run {run['id']} is {run['state']}."
