"""What `quantum top` shows: queues, workers, tenants, the steps that run longest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from app.client.http import ApiClient, ApiProblem, ApiUnreachable
from app.client.watching import is_away
from app.domain.terminal import visible

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
WORKERS: Final = ("name", "state", "heeds", "busy", "processes", "version", "pid")
TENANTS: Final = ("slug", "runs", "attempts", "step_seconds", "events")
STEPS: Final = ("seconds", "tenant", "operation", "key", "tries", "worker", "run_id")
SHOWN: Final = 10


def look(client: ApiClient, today: str) -> dict[str, Any]:
    """Read everything once; raises ApiProblem, ApiUnreachable."""
    span = {"from": today, "to": today}
    return {
        "maintenance": client.get("/platform/maintenance"),
        "queues": client.get("/platform/queues")["items"],
        "workers": [each for each in client.items("/platform/workers") if is_expected(each)],
        "tenants": client.get("/platform/usage", **span)["items"],
        "steps": client.get("/platform/steps")["items"],
    }


def looks(
    look: Callable[[], dict[str, Any]], pause: Callable[[], object]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield one look after the other, without end, each with why there is no newer one: the API is away.

    Raises whatever the first look raises, of the later ones what has another reason.
    """
    seen = look()
    yield seen, ""
    while True:
        pause()
        try:
            seen, away = look(), ""
        except (ApiProblem, ApiUnreachable) as fault:
            if not is_away(fault):
                raise
            away = str(fault)
        yield seen, away


def is_expected(worker: Item) -> bool:
    """Tell whether a worker is at work, or should be: it is lost."""
    return bool(worker["state"] == "live" or worker.get("lost"))


def board(sight: Mapping[str, Any], away: str = "") -> Group:
    """Return one look as tables, the busiest first; `away` tells why there is no newer one."""
    held = sight["maintenance"]
    banner = [Text(visible(f"NO ANSWER, what was seen last: {away}"), "bold red")] if away else []
    if held["active"]:
        banner.append(Text(f"MAINTENANCE: {held['reason'] or 'nothing begins'}", "bold red"))
    queues = sorted(sight["queues"], key=lambda each: -(each["running"] + each["sent"] + each["unsent"]))
    return Group(
        *banner,
        _table("Queues", QUEUES, queues),
        _table("Workers", WORKERS, sorted(sight["workers"], key=_lost_then_busy)),
        _table("Tenants today", TENANTS, sight["tenants"]),
        _table("Steps that run longest", STEPS, sight["steps"]),
    )


def _lost_then_busy(worker: Item) -> tuple[bool, int]:
    return not worker.get("lost"), -worker["busy"]


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
