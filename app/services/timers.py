"""The end of waits whose time has come, of runs whose time is up."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from app.db import waits
from app.db.engine import Database
from app.db.waits import Fired
from app.domain.errors import Unavailable
from app.domain.leases import RunRef
from app.services.dispatch import advance_each
from app.services.ports import Engine
from app.services.schedule import LaneMark

log = logging.getLogger(__name__)

WAITS_AT_ONCE = 500
ROUNDS = 40
LOOK_EVERY_S = 0.25
RUNS_AT_ONCE = 200


def fire_due(system: Database) -> list[RunRef]:
    """End the waits and the runs that are due now, batch by batch; return the runs that can go on.

    Two at once are harmless: each is ended under its run's lock. Raises Unavailable.
    """
    ready: dict[RunRef, None] = {}
    for fire in (waits.fire_timers, waits.fire_limits):
        for _ in range(ROUNDS):
            fired = _fired(fire, system)
            ready.update((one.run, None) for one in fired if one.needs_advance)
            if len(fired) < WAITS_AT_ONCE:
                break
    return list(ready)


def _fired(fire: Callable[..., list[Fired]], system: Database) -> list[Fired]:
    """Fire a batch; when a row of it cannot be ended, the others one by one."""
    try:
        return fire(system, WAITS_AT_ONCE)
    except Unavailable:
        raise
    except Exception:
        # Whatever is wrong with one row, it is not the others' fault.
        log.exception("timers_fire_one_by_one")
        return fire(system, WAITS_AT_ONCE, careful=True)


class Timers(threading.Thread):
    """Fires four times a second, however long the jobs of beat take; `advance` sends what follows.

    What is fired but not advanced, because this process died, is ready and unsent: the dispatcher finds it.
    """

    def __init__(self, system: Database) -> None:
        super().__init__(name="timers", daemon=True)
        self._system = system
        self._mark = LaneMark(system, "timers")
        self._fired: deque[RunRef] = deque()
        self._ended = threading.Event()

    def run(self) -> None:
        """Fire until `stop` is called; a database that is away is waited for."""
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                self._fired.extend(fire_due(self._system))
                self._mark.note()
            except Unavailable:
                log.warning("timers_wait_for_database")
            except Exception:
                # The thread must outlive whatever one look runs into: nobody else fires timers.
                log.exception("timers_failed")

    def advance(self, engine: Engine) -> int:
        """Advance the runs fired since the last call, at most 200; return their number."""
        runs = [self._fired.popleft() for _ in range(min(len(self._fired), RUNS_AT_ONCE))]
        return advance_each(engine, runs, "timer")

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
