"""Telling a run what it waits for."""

from __future__ import annotations

import json
from typing import Any

import click

from app.commands.shell import Shell, tenant_command


@click.command("signal")
@click.argument("run_id")
@click.argument("name")
@click.option("--payload", default="null", help="JSON; it becomes the output of the step that waits.")
@tenant_command
def signal(shell: Shell, run_id: str, name: str, payload: str) -> None:
    """Send a signal to a run; one that comes early is kept."""
    try:
        body = json.loads(payload)
    except ValueError as wrong:
        raise click.BadParameter(f"not JSON: {wrong}", param_hint="--payload") from wrong
    _tell(shell, run_id, name, body)


@click.command("approve")
@click.argument("run_id")
@click.argument("name")
@click.option("--reason", help="Kept with the decision.")
@tenant_command
def approve(shell: Shell, run_id: str, name: str, reason: str | None) -> None:
    """Approve what a run waits for."""
    _tell(shell, run_id, name, _decision("approve", reason))


@click.command("reject")
@click.argument("run_id")
@click.argument("name")
@click.option("--reason", required=True, help="Kept with the decision.")
@tenant_command
def reject(shell: Shell, run_id: str, name: str, reason: str) -> None:
    """Reject what a run waits for: its step fails."""
    _tell(shell, run_id, name, _decision("reject", reason))


def _decision(decision: str, reason: str | None) -> dict[str, Any]:
    return {"decision": decision, **({"reason": reason} if reason else {})}


def _tell(shell: Shell, run_id: str, name: str, body: Any) -> None:
    answer = shell.client.post(f"/runs/{run_id}/signals/{name}", body)
    taken = f"step {answer['step']} took it" if answer["step"] else "kept until a step waits for it"
    shell.show(answer, lambda: f"{name}: {taken}; the run is {answer['run_state']}.")
