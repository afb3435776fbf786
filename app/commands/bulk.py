"""One command for many runs: previewed, made, watched, steered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from app.client.watching import BULK_ENDED, watch_bulk
from app.commands.exits import Exit
from app.commands.shell import Shell, picked, table, tenant_command
from app.domain.bulk import BULK_ACTIONS, MOST_PER_SECOND, OUTCOMES, USUAL_PER_SECOND
from app.domain.states import BULK_STATES

_COLUMNS = ("id", "action", "state", "done", "total", "created_at", "finished_at")
_ITEM = ("n", "run_id", "step", "outcome", "new_run_id")
_BAR_WIDTH = 40


@click.group()
def bulk() -> None:
    """Act on many runs at once."""


def _waits(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--wait", is_flag=True, help="Follow it to its end; exit 1 unless every item was ok."
    )(function)


@bulk.command("create")
@click.argument("action", type=click.Choice(BULK_ACTIONS))
@click.option("--state", help="Only runs in this state.")
@click.option("--type", "type_name", help="Only runs of this intent type.")
@click.option("--workflow", help="Only runs of this workflow: name or name@version.")
@click.option("--label", help="Only runs of intents with this label: key or key=value.")
@click.option("--created-after", help="ISO 8601 with its offset.")
@click.option("--created-before", help="ISO 8601 with its offset.")
@click.option("--error-code", help="Only runs that failed by this code, or have a step that did.")
@click.option("--all", "everything", is_flag=True, help="Without any filter.")
@click.option("--limit", type=click.IntRange(1), help="Only the oldest that many.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01, MOST_PER_SECOND),
    default=USUAL_PER_SECOND,
    show_default=True,
    help="Items per second at most.",
)
@click.option("--reason", help="Kept in the audit record.")
@click.option("--dry-run", is_flag=True, help="Only count, show the first.")
@_waits
@tenant_command
def create(
    shell: Shell,
    action: str,
    everything: bool,
    dry_run: bool,
    wait: bool,
    type_name: str | None,
    **given: Any,
) -> None:
    """Freeze the runs that the options find, then act on them one by one."""
    body = {name: value for name in ("limit", "rate", "reason") if (value := given.pop(name)) is not None}
    wanted = {name: value for name, value in {"type": type_name, **given}.items() if value is not None}
    if not wanted and not everything and not dry_run:
        raise click.UsageError("choose runs by an option, or say --all")
    order(shell, "/bulk-actions", {"action": action, "filter": wanted, "dry_run": dry_run, **body}, wait)


@bulk.command("list")
@click.option("--state", type=click.Choice(BULK_STATES))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_bulk(shell: Shell, state: str | None, limit: int) -> None:
    """The latest first."""
    shell.show_list("/bulk-actions", _COLUMNS, limit=limit, state=state)


@bulk.command("show")
@click.argument("bulk_id")
@_waits
@tenant_command
def show(shell: Shell, bulk_id: str, wait: bool) -> None:
    """How far one has come."""
    settle(shell, shell.client.get(f"/bulk-actions/{bulk_id}"), wait)


@bulk.command("items")
@click.argument("bulk_id")
@click.option("--outcome", type=click.Choice(OUTCOMES))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@tenant_command
def items(shell: Shell, bulk_id: str, outcome: str | None, limit: int) -> None:
    """What became of each run."""
    found = list(shell.client.items(f"/bulk-actions/{bulk_id}/items", limit=limit, outcome=outcome))
    rows = ((*picked(each, *_ITEM), (each["error"] or {}).get("message")) for each in found)
    shell.show(found, lambda: table((*_ITEM, "error"), rows))


@bulk.command("pause")
@click.argument("bulk_id")
@tenant_command
def pause(shell: Shell, bulk_id: str) -> None:
    """Act on no further run until the resume."""
    settle(shell, shell.client.post(f"/bulk-actions/{bulk_id}:pause"), False)


@bulk.command("resume")
@click.argument("bulk_id")
@_waits
@tenant_command
def resume(shell: Shell, bulk_id: str, wait: bool) -> None:
    """Go on."""
    settle(shell, shell.client.post(f"/bulk-actions/{bulk_id}:resume"), wait)


@bulk.command("cancel")
@click.argument("bulk_id")
@tenant_command
def cancel(shell: Shell, bulk_id: str) -> None:
    """End it: what is done stays, the other runs are left alone."""
    settle(shell, shell.client.post(f"/bulk-actions/{bulk_id}:cancel"), False)


def order(shell: Shell, path: str, body: dict[str, Any], wait: bool) -> None:
    """Ask for a bulk action; report it, or what a dry run counted."""
    document = shell.client.post(path, body)
    if body["dry_run"]:
        rows = (picked(each, "run_id", "step") for each in document["sample"])
        counted = f"{document['matched']} matched"
        shell.show(document, lambda: Group(counted, table(("run_id", "step"), rows)))
        return
    settle(shell, document, wait)


def settle(shell: Shell, found: dict[str, Any], wait: bool) -> None:
    """Report a bulk action; with `wait` follow it, exit 1 unless it finished with every item ok."""
    if wait:
        found = _followed(shell, found["id"])
    shell.show(found, lambda: _drawn(found))
    if wait and (found["state"] != "finished" or found["counts"].get("ok", 0) < found["total"]):
        raise SystemExit(Exit.FAILED)


def _followed(shell: Shell, bulk_id: str) -> dict[str, Any]:
    looks = watch_bulk(shell.client, bulk_id)
    if shell.as_json or not shell.console.is_terminal:
        *_, last = looks
        return last
    with Live(console=shell.console, refresh_per_second=8, transient=True) as live:
        for found in looks:
            live.update(_drawn(found))
    return found


def _drawn(found: dict[str, Any]) -> RenderableType:
    head = Text.assemble((f"bulk {found['action']} {found['id']} ", "bold"), f"is {found['state']}")
    counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found["counts"].items()))
    bar = ProgressBar(total=max(found["total"], 1), completed=found["done"], width=_BAR_WIDTH)
    done = f"{found['done']}/{found['total']} done" + (f": {counts}" if counts else "")
    left = () if found["state"] in BULK_ENDED else (bar,)
    return Group(head, *left, done)
