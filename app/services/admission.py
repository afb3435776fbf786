"""The admission of runs: at once while their pool has room, else by weighted fair share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db import admission as store
from app.db.admission import Admitted, PoolLoad
from app.db.engine import Connection, Database
from app.domain.errors import Unavailable
from app.domain.runs import Run
from app.observability.context import run_context
from app.services.advance import advance
from app.services.ports import Engine
from app.services.schedule import LaneMark
from app.services.send import Parcel, send_parcels
from workflows.plan import Plan

log = logging.getLogger(__name__)

RUNS_AT_ONCE = 200
FRESH_FOR_S = 0.1
"""How old the known loads may be when much of the room is used up."""
STALE_AFTER_S = 2.0
BUSY_PAUSE_S = 0.02
IDLE_PAUSE_S = 0.1
OWN_FRESH_FOR_S = 0.5
"""How old the loads may be that the admitter's own process knows: its looks read them anew in SQL anyway."""
FIRST_EPOCH = 1
KEYS_KEPT_S = 3600.0


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """How many steps a queue may have, sent or running: `per_slot` a live process, `floor` at least."""

    floor: int
    per_slot: int


class Admission:
    """What one process knows of the room in the pools, plus the way to admit what waits.

    The room is a look at the rows, less what this process has used since: a bound that keeps queues short may
    be passed by a few runs. A tenant's limits may not, so those are SQL's.
    """

    def __init__(
        self, engine: Engine, system: Database, rules: AdmissionRules, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self.system = system
        self._rules = rules
        self._clock = clock
        self._room: dict[str, int] = {}
        self._used = 0
        self._refused = False
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def take(self, pool: str) -> bool:
        """Use the room for one run, if the pool has any; a run without a pool needs none."""
        if not pool:
            return True
        with self._lock:
            room = self._room.get(pool, self._rules.floor)
            if room <= 0:
                self._refused = True
                return False
            self._room[pool] = room - 1
            self._used += 1
            return True

    def reenter(self, connection: Connection, run: Run) -> None:
        """Let a run that comes back wait after all, when its pool has no room, in the same transaction."""
        under_way = run.state in ("queued", "running") and not run.waits
        self._refused = self._refused or run.waits
        if under_way and not self.take(run.pool):
            store.hold_run(connection, run.tenant_id, run.id)

    def go_on(self, tenant_id: UUID, run_id: UUID) -> None:
        """Send what is ready of a run that came back, then `look`."""
        advance(self._engine, tenant_id, run_id)
        self.look()

    def due(self) -> bool:
        """Tell whether `look` would do more than see how young its last look is."""
        return self._clock() - self._read_at > FRESH_FOR_S

    def look(self) -> None:
        """Admit when this process made a run wait; read the loads when they are old. Not for a request."""
        age = self._clock() - self._read_at
        if not self.due():
            return  # under a flood each submission would look; the admitter of beat does, many times a second
        if self._refused:
            self._refused = False
            self.admit()
        elif age > STALE_AFTER_S or self._used * 4 > self._rules.floor:
            self.read_loads()

    def read_loads(self) -> None:
        """Read what room there is; none for newcomers where others wait already."""
        with self._lock:
            self._used = 0
            self._read_at = self._clock()
        room = {name: 0 if load.waiting else load.bound - load.load for name, load in self.loads().items()}
        with self._lock:
            self._room = room

    def loads(self) -> dict[str, PoolLoad]:
        """Return what each queue has to do now, by name."""
        found = store.pool_loads(self.system, self._rules.floor, self._rules.per_slot)
        return {load.pool: load for load in found}

    def admit(self, fresh_for_s: float = FRESH_FOR_S) -> int:
        """Admit what waits as far as there is room, send it; return how many runs that were.

        The loads that this process knows are read anew unless they are younger than `fresh_for_s` seconds.
        Nothing is admitted while the broker is away. Two callers at once are harmless: one does it.
        """
        broker_epoch = self._engine.sender.epoch()
        if broker_epoch is None:
            return 0
        rules = self._rules
        admitted = store.admit(self.system, RUNS_AT_ONCE, rules.floor, rules.per_slot, broker_epoch)
        if admitted:
            self._send(admitted)
        if self._clock() - self._read_at > fresh_for_s:
            self.read_loads()
        return len(admitted)

    def _send(self, admitted: Sequence[Admitted]) -> None:
        parcels, others = [], []
        for run, plan in self._planned(admitted):
            if run.fresh and plan.first_segments:
                epochs = {key: FIRST_EPOCH for segment in plan.first_segments for key in segment.keys}
                parcels.append(Parcel(plan, run.tenant_id, run.run_id, plan.first_segments, epochs))
            if not run.fresh or plan.starts_undecided:
                others.append(run)
        send_parcels(self._engine, parcels)
        for run in others:
            with run_context(run.tenant_id, run.run_id):
                try:
                    advance(self._engine, run.tenant_id, run.run_id)
                except Exception:
                    # It is admitted, ready, unsent: the dispatcher finds it, the others need not wait.
                    log.exception("advance_failed", extra={"reason": "admitted"})

    def _planned(self, admitted: Sequence[Admitted]) -> Iterator[tuple[Admitted, Plan]]:
        """Yield the runs with their plans; one whose plan cannot be read keeps no other waiting."""
        away = False
        for run in admitted:
            plan = self._engine.plans.peek(run.plan_hash)
            if plan is None and not away:
                with run_context(run.tenant_id, run.run_id):
                    try:
                        plan = self._read_plan(run)
                    except Exception as fault:
                        # It is marked as sent, but is not: it counts as lost soon, recovery goes on with it.
                        away = isinstance(fault, Unavailable)
                        log.exception("plan_not_read")
            if plan is not None:
                yield run, plan

    def _read_plan(self, run: Admitted) -> Plan:
        with self._engine.database.tenant(run.tenant_id) as connection:
            return self._engine.plans.get(connection, run.tenant_id, run.plan_hash)


def prune_keys(system: Database) -> int:
    """Remove concurrency keys that no run has had for an hour; return their number."""
    return store.prune_keys(system, KEYS_KEPT_S)


def relist(system: Database) -> int:
    """List tenants and keys whose waiting runs nobody would find; return their number."""
    return store.relist_waiting(system) + store.wake_keys(system)


class Admitter(threading.Thread):
    """Admits fifty times a second while runs wait, ten times a second else, however long other jobs take."""

    def __init__(self, admission: Admission, system: Database) -> None:
        super().__init__(name="admitter", daemon=True)
        self._admission = admission
        self._mark = LaneMark(system, "admission")
        self._ended = threading.Event()

    def run(self) -> None:
        """Admit until `stop` is called; a database that is away is waited for."""
        pause = IDLE_PAUSE_S
        while not self._ended.wait(pause):
            pause = IDLE_PAUSE_S
            try:
                if self._admission.admit(OWN_FRESH_FOR_S):
                    pause = BUSY_PAUSE_S
                self._mark.note()
            except Unavailable:
                log.warning("admitter_waits_for_database")
            except Exception:
                # The thread must outlive whatever one look runs into: waiting runs have nobody else.
                log.exception("admitter_failed")

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
