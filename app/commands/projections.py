"""The upkeep of the read models, over the database."""

from __future__ import annotations

from uuid import UUID

import click

from app.bootstrap.stores import build_usage
from app.commands.exits import told
from app.services.usage import compare_usage, rebuild_usage
from app.settings import inherited_environment, load_settings


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
