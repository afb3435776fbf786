"""Workers, as their operators handle them: listed, drained, quarantined, resized."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from app.client.board import is_expected
from app.client.watching import patiently
from app.commands.exits import Exit
from app.commands.shell import Shell, picked, table, tenant_command

POLL_S = 1.0
_COLUMNS = ("name", "state", "heeds", "busy", "processes", "queues", "version", "pid", "seen_at")
_ORDER = ("name", "state", "pool_size", "reason", "changed_by", "updated_at")


class _ListsAlone(click.Group):
    """Lists when no command is named; options alone are those of the list."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words behind the group."""
        named = args and (not args[0].startswith("-") or "--help" in args)
        return super().parse_args(ctx, args if named else ["list", *args])


@click.group(cls=_ListsAlone)
def workers() -> None:
    """Worker processes, with what is ordered of them; listed when no command is named."""


@workers.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that have left or died within a day.")
@tenant_command
def list_workers(shell: Shell, everything: bool) -> None:
    """The live workers, those that are lost: what they heed, how busy they are, which release they are of.

    A lost one died, or froze, within the hour; no other of its name has come since.
    """
    found = [each for each in shell.client.items("/platform/workers") if everything or is_expected(each)]
    shell.show(found, lambda: table((*_COLUMNS, ""), (_row(each) for each in found)))


@workers.command("resize", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("size")
@tenant_command
def resize(shell: Shell, name: str, size: str) -> None:
    """Set the number of pool processes: 4, or +1, or -1, or "started" for as many as it is started with.

    Busy processes are waited for. The size stays with the name, whatever restarts.
    """
    if not re.fullmatch(r"started|[+-]?[0-9]{1,3}", size):
        raise click.UsageError("SIZE is a number, +N, -N, or started")
    wanted: int | None = None
    if size[0] in "+-":
        wanted = _present_size(shell, name) + int(size)
    elif size != "started":
        wanted = int(size)
    _order(shell, name, {"pool_size": wanted})


def _present_size(shell: Shell, name: str) -> int:
    live = _live(shell, name)
    if not live:
        shell.stop(f"no live worker is called {name}: give a whole number", Exit.NOT_FOUND)
    ordered: int | None = live[0]["order"]["pool_size"]
    return ordered or max(int(each["processes"]) for each in live)


@click.group()
def drain() -> None:
    """Take no new work, end what runs, then idle."""


@click.group()
def undrain() -> None:
    """Take work again."""


@click.group()
def quarantine() -> None:
    """Take no new work; what runs is taken back, to run elsewhere."""


@drain.command("worker")
@click.argument("name")
@click.option("--reason", default="", help="Shown to others, kept in the audit record.")
@click.option("--wait", is_flag=True, help="Until it executes nothing any more.")
@click.option("--within", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds to wait.")
@tenant_command
def drain_worker(shell: Shell, name: str, reason: str, wait: bool, within: float) -> None:
    """Let the workers called NAME end what they run and begin nothing; survives their restart."""
    order = _order(shell, name, {"state": "draining", "reason": reason}, show=not wait)
    if wait:
        there = _wait_idle(shell, name, within)
        shell.show(order, lambda: f"{name} is idle." if there else f"{name} does not live: it runs nothing.")


@undrain.command("worker")
@click.argument("name")
@tenant_command
def undrain_worker(shell: Shell, name: str) -> None:
    """Let the workers called NAME take work again, after a drain or a quarantine."""
    _order(shell, name, {"state": "active", "reason": ""})


@quarantine.command("worker")
@click.argument("name")
@click.option("--reason", required=True, help="Shown to others, kept in the audit record.")
@tenant_command
def quarantine_worker(shell: Shell, name: str, reason: str) -> None:
    """Take the work from the workers called NAME and refuse their claims.

    Each step they execute is ready again at once: it may be executed twice, under the same idempotency key.
    """
    _order(shell, name, {"state": "quarantined", "reason": reason})


def _order(shell: Shell, name: str, changes: dict[str, Any], *, show: bool = True) -> Any:
    path = f"/platform/workers/{name}/order"
    found = shell.client.call("GET", path)
    headers = {"If-Match": found.headers["ETag"]}
    order = shell.client.call("PATCH", path, body=changes, headers=headers).document
    if show:
        shell.show_one(order, _ORDER)
    return order


def _wait_idle(shell: Shell, name: str, within_s: float) -> bool:
    """Wait until the workers of this name execute nothing; tell whether one lives."""
    until = time.monotonic() + within_s
    while True:
        mine = patiently(lambda: _live(shell, name))
        if all(each["busy"] == 0 and each["heeds"] != "active" for each in mine):
            return bool(mine)
        if time.monotonic() > until:
            raise TimeoutError(f"{name} still executes {sum(each['busy'] for each in mine)} steps")
        time.sleep(POLL_S)


def _live(shell: Shell, name: str) -> list[dict[str, Any]]:
    found = shell.client.items("/platform/workers")
    return [each for each in found if each["name"] == name and each["state"] == "live"]


def _row(worker: dict[str, Any]) -> tuple[Any, ...]:
    shown = {**worker, "queues": " ".join(worker["queues"])}
    notes = [
        *(["lost"] if worker.get("lost") else []),
        *(["other release"] if worker["skewed"] else []),
        *([f"ordered: {worker['order']['state']}"] if worker["order"]["state"] != worker["heeds"] else []),
        *([worker["order"]["reason"]] if worker["order"]["reason"] else []),
    ]
    return (*picked(shown, *_COLUMNS), "; ".join(notes))
