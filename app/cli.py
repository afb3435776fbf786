"""The `quantum` command: a table of its subcommands, each loaded when it is used."""

from __future__ import annotations

import importlib
from typing import cast

import click

COMMANDS = {
    "up": "app.commands.platform:up",
    "demo": "app.commands.demo:demo",
    "doctor": "app.commands.platform:doctor",
    "migrate": "app.commands.platform:migrate_command",
    "roles": "app.commands.platform:roles",
    "relay": "app.commands.relay:relay",
    "deliver": "app.commands.deliver:deliver",
    "clean": "app.commands.platform:clean",
    "login": "app.commands.login:login",
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
    "projections": "app.commands.usage:projections",
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
    "maintenance": "app.commands.maintenance:maintenance",
    "logs": "app.commands.log_levels:logs",
    "backup": "app.commands.backup:backup",
}


class Commands(click.Group):
    """Loads a command's module only when that command, or the help of all, is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the table's order: platform first, tenants after."""
        return list(COMMANDS)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command with its log set up; that is loaded here, as help needs none of it."""
        logged = importlib.import_module("app.commands.logged").logged
        with logged():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute))


@click.command(cls=Commands)
@click.version_option(package_name="quantum-platform")
def main() -> None:
    """Quantum Platform: declare jobs, watch them, repair them."""
