"""The base of the step task: what its worker does around it, also when its process dies."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import lru_cache
from typing import Any, NoReturn
from uuid import UUID

from billiard.einfo import ExceptionWithTraceback
from celery import Task
from celery.exceptions import Ignore, WorkerLostError
from celery.signals import worker_process_shutdown
from celery.worker.request import Request

from app.bootstrap.worker import WorkerParts
from app.db import hot, lots
from app.db.hot import Claim
from app.domain.errors import Unavailable
from app.domain.leases import Child, Lease, Lot, NewerProtocol, StepMessage
from app.messaging.step_events import StepEvents
from app.observability.tracing import flush_traces
from app.services.execute import StepResult, execute_step, give_back
from app.services.ports import Engine, Executor
from tasks.children import born
from tasks.deadlines import limits_of
from tasks.middleware import surrounded
from tasks.pulse import follow_parent
from tasks.stretch import Stretch, monotonic
from workflows.canvas import message_of

log = logging.getLogger(__name__)

OK = "ok"
"""The one result of a step task: a chord counts results by equality, so none may differ from run to run."""
TOLD = "ok, told step by step"
"""The result of a task whose events are sent already: a chord counts it where every header returns it, and so
does each header that has a lot, however many steps it carried."""


class StepFailed(Exception):
    """The step failed for good; raised so that Flower shows the task as failed."""


class StepRequest(Request):
    """A step message in the worker's parent, which settles the step when its process cannot."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note the process while it lives: dead, it could not be told from its successor."""
        super().on_accepted(pid, time_accepted)
        heart = self.app.heart
        if heart is not None:
            heart.note(pid)

    def send_event(self, type: str, **fields: Any) -> None:
        """Leave out the end of a task whose steps have told theirs, the first of them among them."""
        if fields.get("result") != repr(TOLD):
            super().send_event(type, **fields)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Release the claims of a lost process at once, before its message comes again."""
        fault = exc_info.exception
        if isinstance(fault, ExceptionWithTraceback):
            fault = fault.exc
        heart = self.app.heart
        if isinstance(fault, WorkerLostError | SystemExit) and heart is not None:
            heart.lost(self.worker_pid)
            limit_s = heart.killed_after(self.worker_pid)
            if limit_s is not None:
                self.on_timeout(False, limit_s)  # Flower shows it, and the message is spent
                return
        super().on_failure(exc_info, send_failed_event, return_ok)


class StepTask(Task):
    """Late acknowledgement, ids only, and the outcome told in Celery's words."""

    abstract = True
    acks_late = True
    ignore_result = True
    typing = False
    throws = (StepFailed,)  # told by events and rows; Celery need not log its traceback
    Request = StepRequest
    _executor: Executor | None = None
    _events: StepEvents | None = None

    def execute(self, message: StepMessage) -> str:
        """Execute the step inside the middleware, then those of its chain that may follow here.

        Returns `OK` for a step that succeeded or was skipped, raises StepFailed for one that failed for
        good, and Ignore for everything else: a lost claim, a retry, a cancellation end this canvas. A stretch
        of several, or a message of a lot, tells Flower itself how each ended: it returns `TOLD` or raises
        Ignore.
        """
        parts: WorkerParts = self.app.container.worker
        lease = own_lease(parts.worker.boot, os.getpid(), str(self.request.hostname))
        if self._executor is None:  # made in the pool process, which has the slot
            self._executor = replace(parts.executor, limits=limits_of(lease.child, parts.kill_after_s))
            worker_process_shutdown.connect(lambda **_: flush_traces(), weak=False)
            follow_parent()
        stretch = Stretch(self.request, message, enabled=parts.stretches, clock=monotonic)
        result = self._step(self._executor, lease, stretch, None)
        if result.following is None and message.lot is None:
            return told_celery(result)
        events, all_ok = self._step_events(lease.worker), result.ok
        while result.following is not None:
            stretch.go(events, result)
            result = self._step(self._executor, lease, stretch, result.claim)
            all_ok = all_ok and result.ok
        stretch.tell(events, result)
        lot = stretch.left
        if lot is not None and pass_on(self._executor.engine, lot, self.request):
            raise Ignore("another message goes on in its place")
        if not all_ok:
            raise Ignore("its steps have told their ends")
        return TOLD

    def give_back(self, newer: NewerProtocol) -> NoReturn:
        """Let the step be sent anew, for who understands it: this message is spent, its canvas ends."""
        message = newer.message
        extra = {"run_id": str(message.run_id), "step": message.key, "protocol": str(newer.protocol)}
        log.warning("message_of_newer_protocol", extra=extra)
        give_back(self.app.container.worker.executor, message)
        raise Ignore(str(newer))

    def _step(self, executor: Executor, lease: Lease, stretch: Stretch, claim: Claim | None) -> StepResult:
        message = stretch.task.message
        return surrounded(message, lambda: execute_step(executor, message, lease, claim, stretch.ahead))

    def _step_events(self, worker: str) -> StepEvents:
        if self._events is None:
            events = self._events = StepEvents(self.app, worker)
            worker_process_shutdown.connect(lambda **_: events.flush(), weak=False)
        return self._events


@lru_cache(maxsize=2)
def own_lease(boot: UUID, pid: int, worker: str) -> Lease:
    """Return the lease of this process, which its parent names by the same pid and birth."""
    return Lease(boot, Child(pid, born(pid) or 0), worker)


def pass_on(engine: Engine, lot: Lot, request: Any) -> bool:
    """Send the next step of the lot in place of this request, with what Celery counts or sends after it.

    Returns False when nothing is left. What cannot be sent is unsent again, so that the dispatcher sends it.
    """
    onward = lots.pass_on(engine.database, lot)
    if onward is None:
        return False
    step, queue = onward.message, request.delivery_info["routing_key"]
    bound = message_of((step.tenant_id, step.run_id), step.key, step.epoch, step.lot, queue, onward.operation)
    kept = {"chord": request.chord, "group_id": request.group, "group_index": request.group_index}
    place = {name: value for name, value in (*kept.items(), ("chain", request.chain)) if value is not None}
    try:
        engine.sender.send([bound.set(**place)])
    except Unavailable:
        hot.unmark_sent(engine.database, step.tenant_id, step.run_id, {step.key: step.epoch})
    return True


def told_celery(result: StepResult) -> str:
    """Return or raise what Celery is to make of the result."""
    if result.ok:
        return OK
    if result.failed:
        error = result.error or {}
        raise StepFailed(f"{error.get('code')}: {error.get('message')}")
    raise Ignore
