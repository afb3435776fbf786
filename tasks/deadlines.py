"""The time limits of the steps that run, shared by a worker's pool processes with their parent."""

from __future__ import annotations

import logging
import mmap
import signal
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from billiard.process import current_process

from app.domain.leases import Child, StepMessage
from app.services.ports import NO_LIMITS, StepLimits
from tasks.children import born

log = logging.getLogger(__name__)

LOOK_S = 0.1
SLOTS = 512
SLOT_BYTES = 512
KEY_BYTES = 384
_CHECK = struct.Struct("=I")
_SLOT = struct.Struct(f"=iQiiddd16s16sH{KEY_BYTES}s")
_EMPTY = bytes(_CHECK.size)


@dataclass(frozen=True, slots=True)
class RunningStep:
    """A step in a pool process: since when on the machine's monotonic clock, its limits in seconds."""

    child: Child
    message: StepMessage
    tries: int
    since: float
    soft_s: float
    hard_s: float


class DeadlineTable:
    """Shared memory with one slot a pool process, in which it writes what it executes; made before the fork.

    A slot is written by its process alone. A checksum makes a half-written one look empty to the reader.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        self._memory = mmap.mmap(-1, slots * SLOT_BYTES)

    def write(self, slot: int, step: RunningStep) -> None:
        """Note what the process of this slot executes."""
        key = step.message.key.encode()
        packed = _SLOT.pack(
            step.child.pid,
            step.child.born,
            step.tries,
            step.message.epoch,
            step.since,
            step.soft_s,
            step.hard_s,
            step.message.tenant_id.bytes,
            step.message.run_id.bytes,
            len(key),
            key,
        )
        at = slot * SLOT_BYTES
        self._memory[at : at + _CHECK.size + _SLOT.size] = _CHECK.pack(zlib.crc32(packed) or 1) + packed

    def clear(self, slot: int) -> None:
        """Note that the process of this slot executes nothing."""
        at = slot * SLOT_BYTES
        self._memory[at : at + _CHECK.size] = _EMPTY

    def read(self, slot: int) -> RunningStep | None:
        """Return what the process of this slot executes."""
        at = slot * SLOT_BYTES
        if self._memory[at : at + _CHECK.size] == _EMPTY:
            return None
        raw = self._memory[at : at + _CHECK.size + _SLOT.size]
        packed = raw[_CHECK.size :]
        if (zlib.crc32(packed) or 1) != _CHECK.unpack_from(raw)[0]:
            return None
        pid, birth, tries, epoch, since, soft_s, hard_s, tenant, run, length, key = _SLOT.unpack(packed)
        message = StepMessage(UUID(bytes=tenant), UUID(bytes=run), key[:length].decode(), epoch)
        return RunningStep(Child(pid, birth), message, tries, since, soft_s, hard_s)

    def tells(self, processes: int) -> bool:
        """Whether each of so many processes has a slot, and one has written: those of threads never do."""
        pids = (at + _CHECK.size for at in range(0, self._slots * SLOT_BYTES, SLOT_BYTES))
        return processes <= self._slots and any(self._memory[at : at + 4] != bytes(4) for at in pids)

    def running(self) -> dict[int, RunningStep]:
        """Return all that is executed, by slot."""
        found = ((slot, self.read(slot)) for slot in range(self._slots))
        return {slot: step for slot, step in found if step is not None}


TABLE = DeadlineTable()
"""The table of this worker: made when the tasks are loaded, which is before the pool forks."""


class SlotLimits:
    """What a pool process writes around each step that it executes; a signal strikes in between only."""

    def __init__(self, table: DeadlineTable, slot: int, child: Child, grace_s: float) -> None:
        self._table = table
        self._slot = slot
        self._child = child
        self._grace_s = grace_s
        self._open = False

    def heed(self, *_signal: object) -> None:
        """Raise SoftTimeLimitExceeded inside an open step; a signal that comes late is for nobody."""
        if self._open:
            raise SoftTimeLimitExceeded

    def begin(self, message: StepMessage, tries: int, limit_s: float) -> None:
        """Start the clock of a step: `limit_s` is its soft limit, the hard one is the grace later."""
        hard_s = limit_s + self._grace_s
        self._table.write(
            self._slot, RunningStep(self._child, message, tries, time.monotonic(), limit_s, hard_s)
        )
        self._open = True

    def end(self) -> None:
        """Stop it; nothing happens when it stands."""
        self._open = False
        self._table.clear(self._slot)


def limits_of(child: Child, grace_s: float, table: DeadlineTable = TABLE) -> StepLimits:
    """Return the limits of this process, which heeds signals by them from now on.

    There are none for a process that no pool has numbered.
    """
    index = getattr(current_process(), "index", None)
    if index is None or index >= SLOTS:
        return NO_LIMITS
    limits = SlotLimits(table, index, child, grace_s)
    signal.signal(signal.SIGUSR1, limits.heed)
    return limits


class Power(Protocol):
    """What the warden may do to a pool process."""

    def interrupt(self, step: RunningStep) -> None:
        """Raise the soft time limit inside the step."""

    def kill(self, step: RunningStep) -> None:
        """Kill the process; the step is settled by its retry policy."""


class Warden:
    """Interrupts a step past its soft limit, kills the process of one that goes on past its hard limit.

    So limits hold for each step, however many one message carries, also for code that ignores signals or
    keeps the interpreter's lock. It looks ten times a second in a thread of the pool's parent, which neither
    PostgreSQL nor the broker can delay.
    """

    def __init__(self, power: Power, table: DeadlineTable = TABLE) -> None:
        self._power = power
        self._table = table
        self._told: dict[int, tuple[RunningStep, bool]] = {}

    def start(self) -> None:
        """Watch as long as the process lives."""
        threading.Thread(target=self._run, name="warden", daemon=True).start()

    def look(self, now: float) -> None:
        """Interrupt what is past its soft limit at `now`, kill what is past its hard limit; each once."""
        running = self._table.running()
        self._told = {slot: self._told[slot] for slot, step in running.items() if self._knows(slot, step)}
        for slot, step in running.items():
            spent = now - step.since
            if spent >= step.hard_s:
                self._once(slot, step, hard=True)
            elif spent >= step.soft_s:
                self._once(slot, step, hard=False)

    def _knows(self, slot: int, step: RunningStep) -> bool:
        return slot in self._told and self._told[slot][0] == step

    def _once(self, slot: int, step: RunningStep, *, hard: bool) -> None:
        told = self._told.get(slot)
        if told is not None and told[1] >= hard:
            return
        self._told[slot] = (step, hard)
        # The process may have died with its slot full, or gone on to its next step since the look.
        if born(step.child.pid) != step.child.born or self._table.read(slot) != step:
            return
        act: Callable[[RunningStep], None] = self._power.kill if hard else self._power.interrupt
        act(step)

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_S):
            try:
                self.look(time.monotonic())
            except Exception:
                # Without this thread no limit holds: it must outlive whatever one look runs into.
                log.exception("warden_failed")
