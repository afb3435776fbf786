"""Stretches: the steps of a chain that one pool process executes one after the other."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.db.hot import Claim
from app.domain.leases import Lot, NewerProtocol, StepMessage
from app.messaging.celery_app import STEP_TASK
from app.messaging.step_events import StepEvents
from app.services.execute import StepResult

STEPS_AT_MOST = 50
SECONDS_AT_MOST = 2.0
PLAIN = frozenset(
    {"task_id", "queue", "shadow", "soft_time_limit", "time_limit", "reply_to", "root_id", "parent_id"}
)
"""Options of a signature that a stretch carries out; a chord's count, a link, a delay are for Celery."""

Clock = Callable[[], float]


class Closing:
    """Whether the worker shuts down: one byte that the parent shares with its pool processes."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """Let every stretch end at its next boundary."""
        self._shared[0] = 1

    def __bool__(self) -> bool:
        return self._shared[0] == 1


CLOSING = Closing()
"""Made when the parent imports the tasks, which is before its pool forks."""


@dataclass(frozen=True, slots=True)
class Task:
    """One step as a Celery task: what Flower is told of it."""

    message: StepMessage
    task_id: str
    name: str
    args: str


def plain_step(signature: Mapping[str, Any], like: StepMessage, queue: str) -> Task | None:
    """Return the step of a signature that may run where `like` ran, else None.

    It is a step of the same run and queue, and Celery has nothing else to do for it: what carries a chord is
    counted by Celery, so it travels as a message.
    """
    options = signature.get("options") or {}
    if signature.get("task") != STEP_TASK or signature.get("subtask_type") or options.get("queue") != queue:
        return None
    if any(value and name not in PLAIN for name, value in options.items()):
        return None
    try:
        message = StepMessage.of(signature["args"])
    except NewerProtocol:
        return None  # for a worker that understands it
    if (message.tenant_id, message.run_id) != (like.tenant_id, like.run_id):
        return None
    return Task(message, str(options["task_id"]), str(options.get("shadow")), repr(list(signature["args"])))


class Stretch:
    """Walks along the chain of one Celery request, which keeps only what is left to be sent."""

    def __init__(
        self, request: Any, message: StepMessage, *, enabled: bool, closing: Any = CLOSING, clock: Clock
    ) -> None:
        self._request = request
        self._queue = (request.delivery_info or {}).get("routing_key") or ""
        self._enabled = enabled
        self._closing = closing
        self._clock = clock
        self._began = self._since = clock()
        self._next: Task | None = None
        self._lot = None if message.lot is None else Lot(message.tenant_id, message.run_id, message.lot)
        self._left = False
        self.length = 1
        self.task = Task(message, str(request.id), "", "")

    @property
    def left(self) -> Lot | None:
        """The lot of which a further message has to take what is left, None when nothing may be left."""
        return self._lot if self._left else None

    def ahead(self, ok: bool) -> StepMessage | Lot | None:
        """Return what may follow here and now; asked at a boundary, before the next is claimed.

        A line of a lot goes on to its end first; where it ends, the process takes another step of the lot.
        """
        self._next, self._left = None, False
        chain = self._request.chain
        if ok and chain and (self._lot is None or _of_lot(chain[-1], self._lot)):
            if self._ends():
                return None
            self._next = plain_step(chain[-1], self.task.message, self._queue)
            return None if self._next is None else self._next.message
        self._left = self._lot is not None and self._ends()
        return None if self._left else self._lot

    def _ends(self) -> bool:
        if not self._enabled or self.length >= STEPS_AT_MOST or self._closing:
            return True
        return self._clock() - self._began >= SECONDS_AT_MOST

    def go(self, events: StepEvents, result: StepResult) -> None:
        """Step over the boundary: what ended is told, what follows comes from the chain or from the lot."""
        self.tell(events, result)
        if result.following is None:
            raise RuntimeError("nothing is ahead")
        if self._next is not None:
            self._request.chain = self._request.chain[:-1]
            self.task = self._next
        else:
            self.task = _taken(result.following, result.claim)
        self._since = self._clock()
        self.length += 1
        ids = {"root_id": self._request.root_id, "parent_id": self._request.id}
        events.tell(
            "task-received",
            self.task.task_id,
            name=self.task.name,
            args=self.task.args,
            kwargs="{}",
            retries=0,
            **ids,
        )
        events.tell("task-started", self.task.task_id)

    def tell(self, events: StepEvents, result: StepResult) -> None:
        """Tell Flower how the step at hand ended, in the words that Celery has for a task."""
        runtime = self._clock() - self._since
        if result.ok:
            events.tell("task-succeeded", self.task.task_id, result=repr(result.outcome), runtime=runtime)
        elif result.failed:
            error = result.error or {}
            events.tell(
                "task-failed",
                self.task.task_id,
                exception=f"StepFailed({error.get('code')}: {error.get('message')})",
                traceback="",
            )
        elif result.outcome == "retry":
            events.tell("task-retried", self.task.task_id, exception=repr(result.error), traceback="")


def _taken(message: StepMessage, claim: Claim | None) -> Task:
    args = repr([str(message.tenant_id), str(message.run_id), message.key, message.epoch])
    task_id = f"{message.run_id}:{message.key}:{message.epoch}"
    return Task(message, task_id, claim.operation if claim is not None else "", args)


def _of_lot(signature: Mapping[str, Any], lot: Lot) -> bool:
    if signature.get("task") != STEP_TASK:
        return False
    try:
        return StepMessage.of(signature.get("args") or ()).lot == lot.id
    except NewerProtocol:
        return False


def monotonic() -> float:
    """Return seconds that never run backwards."""
    return time.monotonic()
