"""What `quantum top` shows: queues, workers, tenants, the steps that run longest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from app.client.http import ApiClient

Item = Mapping[str, Any]

QUEUES: Final = (
    "queue",
    "depth",
    "oldest_s",
    "sent",
    "running",
    "unsent",
    "waiting_runs",
    "workers",
    "slots",
)
WORKERS: Final = ("name", "heeds", "busy", "processes", "version", "pid")
TENANTS: Final = ("slug", "runs", "attempts", "step_seconds", "events")
STEPS: Final = ("seconds", "tenant", "operation", "key", "tries", "worker", "run_id")
SHOWN: Final = 10


def look(client: ApiClient, today: str) -> dict[str, Any]:
    """Read everything once; raises ApiProblem, ApiUnreachable."""
    span = {"from": today, "to": today}
    return {
        "maintenance": client.get("/platform/maintenance"),
        "queues": client.get("/platform/queues")["items"],
        "workers": [each for each in client.items("/platform/workers") if each["state"] == "live"],
        "tenants": client.get("/platform/usage", **span)["items"],
        "steps": client.get("/platform/steps")["items"],
    }


def board(sight: Mapping[str, Any]) -> Group:
    """Return one look as tables, the busiest first."""
    held = sight["maintenance"]
    banner = (
        [Text(f"MAINTENANCE: {held['reason'] or 'nothing begins'}", "bold red")] if held["active"] else []
    )
    queues = sorted(sight["queues"], key=lambda each: -(each["running"] + each["sent"] + each["unsent"]))
    return Group(
        *banner,
        _table("Queues", QUEUES, queues),
        _table("Workers", WORKERS, sorted(sight["workers"], key=lambda each: -each["busy"])),
        _table("Tenants today", TENANTS, sight["tenants"]),
        _table("Steps that run longest", STEPS, sight["steps"]),
    )


def _table(title: str, columns: Sequence[str], items: Iterable[Item]) -> Table:
    shown = list(items)
    more = len(shown) - SHOWN
    made = Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        caption=f"and {more} more" if more > 0 else None,
        caption_justify="left",
    )
    for each in shown[:SHOWN]:
        made.add_row(*(_cell(each[name]) for name in columns))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
