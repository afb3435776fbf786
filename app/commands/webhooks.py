"""Webhooks: made, listed, tested, replayed, with the log of their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = ("id", "name", "url", "state", "breaker", "delivered_at", "failing_since", "disabled_reason")
_DELIVERY = ("event_id", "type", "subject", "state", "attempts", "last_status", "last_error")
_ATTEMPT = ("n", "at", "latency_ms", "status", "error", "response")


@click.group()
def webhooks() -> None:
    """Have events told over HTTP, signed as Standard Webhooks."""


@webhooks.command("create")
@click.argument("name")
@click.argument("endpoint")
@click.option("--type", "types", multiple=True, required=True, help="run.failed, run.*, or *; repeatable.")
@click.option("--label", "labels", multiple=True, help="key=value of the intent; repeatable.")
@tenant_command
def create(shell: Shell, name: str, endpoint: str, types: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Make webhook NAME, which POSTs to ENDPOINT; its secret is shown this once."""
    pairs = {key: value for key, _, value in (label.partition("=") for label in labels)}
    body = {"name": name, "url": endpoint, "types": list(types), "labels": pairs}
    made = shell.client.post("/webhooks", body)
    shell.show(made, lambda: f"Webhook {made['id']} is made.\nIts secret, shown this once: {made['secret']}")


@webhooks.command("list")
@click.option("--state", type=click.Choice(["active", "disabled"]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_webhooks(shell: Shell, state: str | None, limit: int) -> None:
    """The webhooks by name, with why one is disabled."""
    shell.show_list("/webhooks", _COLUMNS, limit=limit, state=state)


@webhooks.command("enable")
@click.argument("webhook_id")
@tenant_command
def enable(shell: Shell, webhook_id: str) -> None:
    """Let it go on, its failures forgotten; what waited is delivered, in order."""
    _changed(shell, webhook_id, "active")


@webhooks.command("disable")
@click.argument("webhook_id")
@tenant_command
def disable(shell: Shell, webhook_id: str) -> None:
    """Send nothing more; what waits is kept for a week."""
    _changed(shell, webhook_id, "disabled")


@webhooks.command("delete")
@click.argument("webhook_id")
@tenant_command
def delete(shell: Shell, webhook_id: str) -> None:
    """Delete it with its log."""
    shell.client.call("DELETE", f"/webhooks/{webhook_id}")
    shell.show({"deleted": webhook_id}, lambda: "Deleted.")


@webhooks.command("rotate")
@click.argument("webhook_id")
@click.option("--overlap-s", default=86_400, show_default=True, help="How long both secrets sign.")
@tenant_command
def rotate(shell: Shell, webhook_id: str, overlap_s: int) -> None:
    """Give it a new secret, shown this once."""
    body = {"overlap_s": overlap_s}
    path = f"/webhooks/{webhook_id}:rotate-secret"
    made = shell.client.call("POST", path, body=body, headers={"If-Match": "*"}).document
    shell.show(made, lambda: f"The new secret, shown this once: {made['secret']}")


@webhooks.command("ping")
@click.argument("webhook_id")
@tenant_command
def ping(shell: Shell, webhook_id: str) -> None:
    """Send a test event; `quantum webhooks show` tells what came of it."""
    sent = shell.client.post(f"/webhooks/{webhook_id}:ping")
    shell.show(sent, lambda: f"Test event {sent['event_id']} is on its way.")


@webhooks.command("deliveries")
@click.argument("webhook_id")
@click.option("--state", type=click.Choice(["pending", "delivered", "dead"]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def deliveries(shell: Shell, webhook_id: str, state: str | None, limit: int) -> None:
    """Its deliveries, those of the latest events first."""
    shell.show_list(f"/webhooks/{webhook_id}/deliveries", _DELIVERY, limit=limit, state=state)


@webhooks.command("show")
@click.argument("webhook_id")
@click.argument("event_id")
@tenant_command
def show(shell: Shell, webhook_id: str, event_id: str) -> None:
    """The attempts to deliver one event."""
    found = shell.client.get(f"/webhooks/{webhook_id}/deliveries/{event_id}")
    shell.show(found, lambda: table(_ATTEMPT, (picked(item, *_ATTEMPT) for item in found["log"])))


@webhooks.command("replay")
@click.argument("webhook_id")
@click.option("--event", "event_id", help="One event.")
@click.option("--dead-letters", is_flag=True, help="All dead letters.")
@click.option("--after", type=click.IntRange(0), help="Events behind this position of the feed.")
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="Events from this moment on.")
@tenant_command
def replay(
    shell: Shell,
    webhook_id: str,
    event_id: str | None,
    dead_letters: bool,
    after: int | None,
    since: datetime | None,
) -> None:
    """Deliver events again: one, the dead letters, those behind a position, or those since a moment."""
    if event_id is not None:
        again = shell.client.post(f"/webhooks/{webhook_id}/deliveries/{event_id}:replay")
        shell.show(again, lambda: "It is delivered again.")
        return
    body: dict[str, Any] = {"dead_letters": True} if dead_letters else {"after": after}
    if since is not None:
        body = {"since": since.isoformat()}
    elif not dead_letters and after is None:
        raise click.UsageError("give one of --event, --dead-letters, --after, --since")
    total = 0
    while True:
        done = shell.client.post(f"/webhooks/{webhook_id}:replay", body)
        total += done["replayed"]
        if done["next_after"] is None:
            break
        body = {"after": done["next_after"]}
    shell.show({"replayed": total}, lambda: f"{total} events are delivered again.")


def _changed(shell: Shell, webhook_id: str, state: str) -> None:
    headers = {"If-Match": "*"}
    row = shell.client.call(
        "PATCH", f"/webhooks/{webhook_id}", body={"state": state}, headers=headers
    ).document
    shell.show(row, lambda: f"Webhook {row['name']} is {row['state']}.")
