"""The heartbeat of a worker: a thread of the pool's parent, which also nurses the pool."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutdown, worker_shutting_down

from app.bootstrap.worker import WorkerParts
from app.domain.errors import QuantumError, Unavailable
from app.domain.leases import Child, HeldStep, Lease
from app.observability.context import step_context
from app.services.heartbeat import beat, leave, wanted
from app.services.lost_child import child_lease, held_claims, release_child, release_orphan, settle_timeout
from app.services.recover import BEAT_S
from tasks.children import KnownChildren
from tasks.deadlines import TABLE, RunningStep, Warden
from tasks.last_resort import LastResort
from tasks.orders import QUARANTINED, Obedience
from tasks.orphans import Forsaken, Orphans
from tasks.pulse import SHARED, PoolFigures
from tasks.stretch import CLOSING

log = logging.getLogger(__name__)

LOOK_S = 0.5
GRACE_BEATS = 3
"""Beats between the soft signal to a cancelled step and the kill of its process."""

LEAVE_WITHIN_S = 5.0
"""How long the end of a worker waits for its last look at the pool."""

Care = Callable[[], None]


class Heart:
    """Looks at its children every `LOOK_S` seconds, beats every `BEAT_S`, as long as the process lives.

    A warm shutdown waits for running steps, whose leases need the beat to the end: nothing stops it before.
    """

    def __init__(
        self,
        parts: WorkerParts,
        pids: Callable[[], Sequence[int]],
        orphans: Orphans | None = None,
        obedience: Obedience | None = None,
    ) -> None:
        self._parts = parts
        self._pids = pids
        self._parent = Lease(parts.worker.boot, Child(0, 0), parts.worker.name)
        self._children = KnownChildren()
        self._killed: dict[int, float] = {}
        self._signalled: dict[tuple[Child, str], int] = {}
        self._orphans = orphans or Orphans()
        self._forsaken = Forsaken()
        self._obedience = obedience
        self._cares: list[Care] = []
        self._beat_at = 0.0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start beating, and watching the time limits."""
        self._thread.start()
        Warden(self).start()

    def note(self, pid: int) -> None:
        """Note that the process took a message."""
        self._children.see(pid)

    def lost(self, pid: int | None) -> None:
        """Release what the dead process held."""
        child = self._children.see(pid) if pid is not None else None
        if child is not None:
            self._care(partial(self._release, child))

    def interrupt(self, step: RunningStep) -> None:
        """Tell a step that its soft limit is spent."""
        _send(step.child, signal.SIGUSR1)

    def kill(self, step: RunningStep) -> None:
        """Kill the process of a step past its hard limit, which is settled before the process is missed."""
        lease = child_lease(self._parent, step.child)
        settle = partial(settle_timeout, self._parts.nursing, step.message, lease, step.tries, step.hard_s)
        self._killed[step.child.pid] = step.hard_s
        self._care(settle)
        _send(step.child, signal.SIGKILL)

    def killed_after(self, pid: int | None) -> float | None:
        """Return the hard limit in seconds that the process was killed for, once; None for another death."""
        return None if pid is None else self._killed.pop(pid, None)

    def leave(self) -> None:
        """Beat no more, and note that the worker has ended: its pool is gone."""
        self._ended.set()
        self._wake.set()
        self._thread.join(LEAVE_WITHIN_S)
        try:
            leave(self._parts.nursing.dispatch.system, self._parts.worker)
        except QuantumError:
            log.warning("leave_not_noted", exc_info=True)  # its silence will tell

    def _care(self, care: Care) -> None:
        with self._lock:
            self._cares.append(care)
        self._wake.set()

    def _release(self, child: Child) -> None:
        release_child(self._parts.nursing, child_lease(self._parent, child))
        self._children.forget(child)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            try:
                self._look()
            except QuantumError:
                log.warning("heartbeat_failed", exc_info=True)
            except Exception:
                # A heartbeat that ends would have this worker declared dead: tell it and go on.
                log.exception("heartbeat_raised")
            self._wake.wait(LOOK_S)

    def _look(self) -> None:
        self._do_cares()
        live = self._children.live(self._pids())
        # Behind the settling of a step that its process was killed for, which was asked for before the kill.
        for child in self._children.vanished(live):
            self._care(partial(self._release, child))
        self._do_cares()
        if time.monotonic() >= self._beat_at:
            held = [*self._obey(), *self._say(live)]
            self._beat_at = time.monotonic() + BEAT_S
            self._cancel(dict.fromkeys([*held, *self._compare_claims(live)]))

    def _say(self, live: Sequence[Child]) -> Sequence[HeldStep]:
        """Beat; return what these children execute of runs that are being cancelled."""
        heeds = self._obedience.heeds if self._obedience is not None else "active"
        return beat(self._parts.nursing.dispatch.system, self._parts.worker, live, heeds)

    def _obey(self) -> Sequence[HeldStep]:
        """Do what is ordered; return what is to end: what a quarantined worker executes was taken from it."""
        if self._obedience is None:
            return []
        order = wanted(self._parts.nursing.dispatch.system, self._parts.worker)
        self._obedience.heed(order)
        if order.state != QUARANTINED:
            return []
        return [_held(step) for step in TABLE.running().values()]

    def _compare_claims(self, live: Sequence[Child]) -> Sequence[HeldStep]:
        """Release claims that nobody executes; return what is executed though its claim was taken back."""
        if not TABLE.tells(len(live)):
            return []
        nursing = self._parts.nursing
        claims = held_claims(nursing, self._parent)
        # Behind the claims: a process that took one since then executes it, and it is not among them.
        running = TABLE.running().values()
        for claim in self._orphans.look(time.monotonic(), claims, running):
            with step_context(claim.tenant_id, claim.run_id, claim.key):
                log.warning("claim_orphaned")
                release_orphan(nursing, claim)
        # A process that died may have left its slot full, and its number to a stranger.
        working = [step for step in running if step.child in live]
        lost = self._forsaken.look(claims, working)
        for step in lost:
            with step_context(step.message.tenant_id, step.message.run_id, step.message.key):
                log.warning("execution_forsaken")
        return [_held(step) for step in lost]

    def _do_cares(self) -> None:
        """Do what was asked for; while the database is away it stays for the next look."""
        with self._lock:
            cares, self._cares = self._cares, []
        while cares:
            try:
                cares[0]()
            except Unavailable:
                with self._lock:
                    self._cares = cares + self._cares
                raise
            except Exception:
                # One step that cannot be settled keeps neither the others nor the beat: a worker that does
                # not beat is declared dead with all that it runs. What vanished is seen to at the next look.
                log.exception("care_failed")
            cares.pop(0)

    def _cancel(self, held: Iterable[HeldStep]) -> None:
        """Interrupt the cancelled steps; kill the processes that do not heed it."""
        counts = {}
        running = {(step.child, step.message.run_id, step.message.key) for step in TABLE.running().values()}
        for step in held:
            if (step.child, step.run_id, step.key) not in running:
                continue  # the process has gone on to another step, which must not be hit
            name = f"{step.run_id}:{step.key}"
            seen = self._signalled.get((step.child, name), 0)
            counts[step.child, name] = seen + 1
            if seen == 0:
                _send(step.child, signal.SIGUSR1)
            elif seen == GRACE_BEATS:
                _send(step.child, signal.SIGKILL)
        self._signalled = counts


def _held(step: RunningStep) -> HeldStep:
    return HeldStep(step.message.tenant_id, step.message.run_id, step.message.key, step.child)


def _send(child: Child, number: signal.Signals) -> None:
    try:
        os.kill(child.pid, number)
    except ProcessLookupError:
        log.info("child_gone", extra={"pid": child.pid})


class HeartStep(bootsteps.StartStopStep):
    """Starts the heart once the pool is there."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Begin to beat for this worker's pool."""
        parts: WorkerParts = parent.app.container.worker
        parts.attendance.start()
        named = parts.named(parent.hostname)
        obedience = Obedience(parent, named.worker.queues)
        parent.app.heart = Heart(named, partial(_pids, parent), obedience=obedience)
        parent.app.heart.start()
        LastResort(lambda: parent.exitcode, lambda: bool(TABLE.running())).start()
        named.pulse("worker", share=SHARED.write, figures=(PoolFigures(parent).tell,)).start()
        worker_shutting_down.connect(lambda **_: CLOSING.begin(), weak=False)
        worker_shutdown.connect(lambda **_: parent.app.heart.leave(), weak=False)
        worker_shutdown.connect(lambda **_: parts.attendance.leave(), weak=False)

    def stop(self, _parent: Any) -> None:
        """Let the stretches end, also where no signal asked: a shutdown waits for steps, not for chains."""
        CLOSING.begin()


def _pids(worker: Any) -> list[int]:
    """Return the numbers of the pool's processes; a pool of threads lives in this process."""
    processes = (worker.pool.info or {}).get("processes")
    return [int(pid) for pid in processes] if processes else [os.getpid()]
