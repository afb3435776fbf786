"""Watching what goes on until it ends: a run, a bulk action."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from app.client.http import ApiClient, ApiProblem, ApiUnreachable
from app.client.progress import ENDED_RUN

FIRST_POLL_S = 0.1
SLOWEST_POLL_S = 1.0
_INLINE_STEPS = 1000
_CHILDREN = 20
BULK_ENDED = frozenset({"finished", "cancelled"})
AWAY: Final = frozenset({502, 503, 504})
AWAY_S: Final = 60.0
"""How long an API that gave answers may give none before who watches gives up."""

T = TypeVar("T")


def is_away(fault: Exception) -> bool:
    """Tell whether there was no answer, or one that says to come back later."""
    return isinstance(fault, ApiUnreachable) or (isinstance(fault, ApiProblem) and fault.status in AWAY)


def patiently(
    ask: Callable[[], T],
    within_s: float = AWAY_S,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> T:
    """Ask until an answer comes, once a second; raises what keeps it away after so many seconds."""
    until = clock() + within_s
    while True:
        try:
            return ask()
        except (ApiProblem, ApiUnreachable) as fault:
            if not is_away(fault) or clock() > until:
                raise
        pause(SLOWEST_POLL_S)


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a run: its document, all its step documents, the runs that steps of it are, by step key."""

    run: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    children: Mapping[str, Sight] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """True when the run has reached a state it only leaves by an operator's retry."""
        return self.run["state"] in ENDED_RUN


def look(client: ApiClient, run_id: str) -> Sight:
    """Read a run with every step, paging when it has more than the run document carries.

    Of the runs that its steps are the first 20 are read too, with theirs.
    """
    run = client.get(f"/runs/{run_id}")
    steps = tuple(run.get("steps") or ())
    if len(steps) >= _INLINE_STEPS:
        steps = tuple(client.items(f"/runs/{run_id}/steps"))
    called = [step for step in steps if step.get("child_run_id")][:_CHILDREN]
    return Sight(run, steps, {step["key"]: look(client, step["child_run_id"]) for step in called})


def watch_bulk(client: ApiClient, bulk_id: str, timeout_s: float = 24 * 3600.0) -> Iterator[dict[str, Any]]:
    """Looks at a bulk action, the last of them ended; raises TimeoutError after `timeout_s`.

    An API that goes away between two looks is waited for.
    """
    deadline = time.monotonic() + timeout_s
    found: dict[str, Any] = client.get(f"/bulk-actions/{bulk_id}")
    while True:
        yield found
        if found["state"] in BULK_ENDED:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"bulk action {bulk_id} did not end within {timeout_s:.0f} s")
        time.sleep(SLOWEST_POLL_S / 2)
        found = patiently(lambda: client.get(f"/bulk-actions/{bulk_id}"))


def watch(client: ApiClient, run_id: str, timeout_s: float = 3600.0) -> Iterator[Sight]:
    """Looks at a run, slower and slower, the last of them ended; raises TimeoutError after `timeout_s`.

    An API that goes away between two looks is waited for.
    """
    deadline = time.monotonic() + timeout_s
    pause = FIRST_POLL_S
    sight = look(client, run_id)
    while True:
        yield sight
        if sight.ended:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {run_id} did not end within {timeout_s:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.3, SLOWEST_POLL_S)
        sight = patiently(lambda: look(client, run_id))
