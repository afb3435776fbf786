"""The key-encryption keys at the operator's shell."""

from __future__ import annotations

from typing import Any

import click

from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = ("key_id", "state", "tenant_keys", "sealed_until")
_PATH = "/platform/keys"
_BATCH = click.option(
    "--batch", type=click.IntRange(1, 500), default=100, show_default=True, help="Tenants of one request."
)
_DRY = click.option("--dry-run", is_flag=True, help="Only count.")


@click.command("keys")
@tenant_command
def list_keys(shell: Shell) -> None:
    """Which key-encryption key wraps how many tenants' keys; needs a platform administrator."""
    found = shell.client.get(_PATH)["items"]
    shell.show(found, lambda: table(_COLUMNS, (picked(item, *_COLUMNS) for item in found)))


@click.command("rewrap")
@_BATCH
@_DRY
@tenant_command
def rewrap(shell: Shell, batch: int, dry_run: bool) -> None:
    """Wrap every tenant's key anew under the newest key; cut short, it goes on where it was."""
    report = _batches(shell, f"{_PATH}:rewrap", {"limit": batch, "dry_run": dry_run}, ("rewrapped",))
    shell.show(report, lambda: _rewrapped(report, dry_run))


@click.command("abandon")
@click.argument("key_id")
@click.option("--reason", required=True, help="Kept in the audit trail of each tenant.")
@_BATCH
@_DRY
@tenant_command
def abandon(shell: Shell, key_id: str, reason: str, batch: int, dry_run: bool) -> None:
    """Give up for good what the lost key KEY_ID wraps: those tenants set their secrets anew."""
    body = {"limit": batch, "dry_run": dry_run, "reason": reason}
    report = _batches(shell, f"{_PATH}/{key_id}:abandon", body, ("tenants", "secrets"))
    shell.show(report, lambda: _abandoned(report, dry_run))


def _batches(shell: Shell, path: str, body: dict[str, Any], counted: tuple[str, ...]) -> dict[str, Any]:
    """Call until nothing remains, or nothing moves any more; return the last answer with the sums."""
    sums = dict.fromkeys(counted, 0)
    while True:
        found = dict(shell.client.post(path, body))
        sums = {name: sums[name] + found[name] for name in counted}
        if not found["remaining"] or not found[counted[0]]:
            return found | sums


def _rewrapped(report: dict[str, Any], dry_run: bool) -> str:
    done = (
        f"{report['remaining']} tenant keys would be" if dry_run else f"{report['rewrapped']} tenant keys are"
    )
    lines = [f"{done} wrapped under {report['newest']}."]
    if report["unreadable"]:
        lines.append(f"{report['unreadable']} cannot be opened: the log of the API names their tenants.")
    elif report["remaining"] and not dry_run:
        lines.append(f"{report['remaining']} remain: run it again.")
    if report["missing"]:
        lines.append(f"{report['missing']} hang on keys that are missing: `quantum secrets keys` names them.")
    return "\n".join(lines)


def _abandoned(report: dict[str, Any], dry_run: bool) -> str:
    if dry_run:
        return f"{report['remaining']} tenants would lose their secrets."
    return f"{report['tenants']} tenants lost {report['secrets']} secrets; {report['remaining']} remain."
