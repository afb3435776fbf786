"""Usage, with the upkeep of its read models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import click

from app.bootstrap import build_usage
from app.commands.platform import told
from app.commands.shell import Shell, picked, table, tenant_command
from app.services.usage import compare_usage, rebuild_usage
from app.settings import inherited_environment, load_settings

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
    shell.show(found, lambda: table(columns, (picked(item, *columns) for item in found)))


@click.group()
def projections() -> None:
    """Read models that follow the events: compare them with their source, rebuild them."""


@projections.command("rebuild")
@click.option("--tenant", type=click.UUID, help="Only this tenant.")
@told
def rebuild(tenant: UUID | None) -> None:
    """Count usage from nothing, over the database; work goes on meanwhile."""
    models = build_usage(load_settings(inherited_environment()))
    click.echo(f"{rebuild_usage(models, tenant)} runs are counted")


@projections.command("verify")
@click.option("--tenant", type=click.UUID, help="Only this tenant.")
@told
def verify(tenant: UUID | None) -> None:
    """Compare usage with its source, over the database; exits 1 when they differ.

    What ended in the last seconds may not be counted yet.
    """
    models = build_usage(load_settings(inherited_environment()))
    found = compare_usage(models, tenant)
    for tenant_id, count in found.items():
        click.echo(f"{tenant_id}: {count} differences")
    if found:
        raise SystemExit(1)
    click.echo("usage is what the rows say")
