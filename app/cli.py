"""The `quantum` command: a table of its subcommands, each loaded when it is used."""

from __future__ import annotations

import importlib

import click

from app.commands.lazy import LazyGroup

COMMANDS = {
    "up": "app.commands.platform:up",
    "demo": "app.commands.demo:demo",
    "doctor": "app.commands.platform:doctor",
    "migrate": "app.commands.migrations:migrate_command",
    "roles": "app.commands.platform:roles",
    "relay": "app.commands.relay:relay",
    "deliver": "app.commands.deliver:deliver",
    "clean": "app.commands.platform:clean",
    "login": "app.commands.login:login",
    "logout": "app.commands.login:logout",
    "tenant": "app.commands.tenants:tenant",
    "pool": "app.commands.pools:pool",
    "user": "app.commands.users:user",
    "intent": "app.commands.intents:intent",
    "runs": "app.commands.runs:runs",
    "dead-letters": "app.commands.dead_letters:dead_letters",
    "bulk": "app.commands.bulk:bulk",
    "events": "app.commands.events:events",
    "schedule": "app.commands.schedules:schedule",
    "triggers": "app.commands.triggers:triggers",
    "webhooks": "app.commands.webhooks:webhooks",
    "top": "app.commands.top:top",
    "usage": "app.commands.usage:usage",
    "projections": "app.commands.projections:projections",
    "flags": "app.commands.flags:flags",
    "audit": "app.commands.audit:audit",
    "secrets": "app.commands.secrets:secrets",
    "workflow": "app.commands.workflows:workflow",
    "module": "app.commands.modules:module",
    "workers": "app.commands.workers:workers",
    "drain": "app.commands.workers:drain",
    "undrain": "app.commands.workers:undrain",
    "quarantine": "app.commands.workers:quarantine",
    "queues": "app.commands.queues:queues",
    "beat": "app.commands.beat:beat",
    "maintenance": "app.commands.maintenance:maintenance",
    "logs": "app.commands.log_levels:logs",
    "backup": "app.commands.backup:backup",
}


class Commands(LazyGroup):
    """Runs each command with its log set up."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what sets up its log is loaded here, as help needs none of it."""
        logged = importlib.import_module("app.commands.logged").logged
        with logged():
            return super().invoke(ctx)


@click.command(cls=Commands, table=COMMANDS)
@click.version_option(package_name="quantum-platform")
def main() -> None:
    """Quantum Platform: declare jobs, watch them, repair them."""
