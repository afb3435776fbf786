"""What was used, by day or by tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from app.commands.shell import Shell, tenant_command

DAYS = ("day", "runs_succeeded", "runs_failed", "runs_cancelled", "attempts", "step_seconds", "events")
TOP = ("slug", "runs", "attempts", "step_seconds", "events", "event_bytes", "tenant_id")


@click.command()
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 400), help="Up to today.")
@click.option("--tenants", is_flag=True, help="Who used most; needs a platform administrator's token.")
@tenant_command
def usage(shell: Shell, days: int, tenants: bool) -> None:
    """What the tenant used, day by day in UTC."""
    today = datetime.now(UTC).date()
    span = {"from": (today - timedelta(days=days - 1)).isoformat(), "to": today.isoformat()}
    found = shell.client.get("/platform/usage" if tenants else "/usage", **span)["items"]
    columns = TOP if tenants else DAYS
    shell.show_all(found, columns)
