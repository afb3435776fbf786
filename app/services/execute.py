"""The execution of one step: claim, decide, resolve, run, finish, advance."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import hot, lots
from app.db.hot import Claim
from app.domain.artifacts import STORE
from app.domain.errors import Deferred, OperationFailed, QuantumError, Unavailable
from app.domain.leases import Lease, Lot, StepMessage
from app.domain.modules import OperationContext, OperationSpec
from app.domain.retry import RetryPolicy
from app.domain.retry import decide as decide_retry
from app.observability import tracing
from app.observability.masking import secrets_in_use
from app.services.advance import advance
from app.services.artifacts import StepArtifacts
from app.services.faults import detail_of, message_of, pause_of
from app.services.patience import patiently, throttled
from app.services.ports import Executor
from app.services.reporting import Reports, reporting
from app.services.resolve_secrets import NO_SECRETS, ResolvedSecrets, resolve_secrets
from app.services.reuse import Reuse, reuse_of
from app.services.traces import attempted, trace_id_of
from workflows.decisions import StepInput, evaluate_when, evaluate_with
from workflows.specs import validate_spec

log = logging.getLogger(__name__)

ENDED_WELL = ("succeeded", "skipped")
DEFERRALS = 100
"""How often a step may wait, having done nothing, without an attempt of its policy."""
STORE_PAUSE_S = 15.0
CLAIMS = 3
"""How often one message may lose its claim while it works, and win it again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as `finish_step` takes it."""

    name: str
    input: Any = None
    output: Any = None
    error: dict[str, Any] | None = None
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the task tells Celery: `ok` lets the canvas go on, `failed` shows, all else ends the canvas."""

    ok: bool
    outcome: str
    error: dict[str, Any] | None = None
    operation: str = ""
    run_state: str | None = None
    following: StepMessage | None = None
    """The step that goes on right here, None when the canvas goes on by a message, or ends."""
    claim: Claim | None = None
    """The claim of the following step, where it was asked for already."""
    trace_id: str = ""

    @property
    def failed(self) -> bool:
        """Whether the step failed for good."""
        return self.outcome == "failed"


Ahead = Callable[[bool], StepMessage | Lot | None]
"""Asked at the end of a step, with whether it ended well: which step of its run follows in this process,
or of which lot any may follow; None where this process goes no further."""


def nothing_ahead(_ok: bool) -> None:
    """The step stands alone: what follows it travels by message."""


def execute_step(
    executor: Executor,
    message: StepMessage,
    lease: Lease,
    claim: Claim | None = None,
    ahead: Ahead = nothing_ahead,
) -> StepResult:
    """Execute the step if this lease wins its claim, and settle it.

    `claim` is that of a step before in the same stretch, which asked for this one. Raises Unavailable when
    PostgreSQL stays away longer than a minute; the step then stays as it is.
    """
    database = executor.engine.database
    result = StepResult(False, "lost")
    following: StepMessage | Lot | None = None
    for turn in range(CLAIMS):
        began_ns = time.time_ns()
        held = claim or patiently(executor, lambda: hot.claim_step(database, message, lease))
        claim = None
        if held.verdict == "held":
            give_back(executor, message)
            return StepResult(False, "held")
        if held.verdict != "claimed":
            if turn and held.verdict == "done":
                # With the answer we also lost the word that something may wait to be sent.
                _advance_or_leave(executor, message.tenant_id, message.run_id)
            done = held.verdict == "done"
            # What the unheard commit claimed is this process's, whatever it would decide at a boundary now.
            unheard = following if done or isinstance(following, Lot) else None
            return _beyond(executor, lease, held.verdict, unheard or (ahead(True) if done else None))
        with attempted(message, held, began_ns) as span:
            outcome = _perform(executor, message, held)
            if outcome.error is not None:
                span.fail(outcome.error["code"])
            following = ahead(outcome.name in ENDED_WELL)
            result = _settle(executor, message, lease, held, outcome, following)
        if result.outcome != "lost":
            break
        # Another worker owns the step, or the first answer was committed before its connection broke:
        # the next claim tells which.
    return result


def _beyond(
    executor: Executor, lease: Lease, verdict: str, following: StepMessage | Lot | None
) -> StepResult:
    """Go on after a step that needs nothing more here, since it has ended or is somebody else's."""
    done = verdict == "done"
    if not isinstance(following, Lot):
        return StepResult(done, verdict, following=following)
    lot = following
    taken = patiently(executor, lambda: lots.take_step(executor.engine.database, lot, lease))
    if taken is None:
        return StepResult(done, verdict)
    return StepResult(done, verdict, following=taken.message, claim=taken.claim)


def give_back(executor: Executor, message: StepMessage) -> None:
    """Unmark a step that must not begin here and now: its message is spent, the dispatcher sends it anew."""
    database, epochs = executor.engine.database, {message.key: message.epoch}
    patiently(executor, lambda: hot.unmark_sent(database, message.tenant_id, message.run_id, epochs))


def _perform(executor: Executor, message: StepMessage, claim: Claim) -> Outcome:
    """Decide whether the step runs, and run its operation; every fault becomes an outcome."""
    attempt = _Attempt(executor, message, claim)
    log.debug("step_claimed", extra={"operation": claim.operation, "tries": claim.tries})
    try:
        return attempt.limited()
    except executor.interruption:
        executor.limits.end()  # the signal may have struck just before
        return attempt.interrupted()
    except Exception as fault:
        # An operation may raise anything: it becomes a row, and the traceback goes to the log only.
        if not isinstance(fault, QuantumError):
            with secrets_in_use(attempt.secrets.values.values()):
                log.exception("operation_raised")
        return attempt.fault(fault)


@dataclass(slots=True)
class _Attempt:
    executor: Executor
    message: StepMessage
    claim: Claim
    started: float = field(init=False)
    stored: Any = None
    secrets: ResolvedSecrets = NO_SECRETS
    began: bool = False
    """Whether the operation was called: from then on something may have been done."""

    def __post_init__(self) -> None:
        self.started = self.executor.clock()

    def limited(self) -> Outcome:
        """Run under the step's own time limits, whatever else its message carries."""
        limits = self.executor.limits
        limits.begin(self.message, self.claim.tries, self._limit())
        try:
            return self.run()
        finally:
            limits.end()

    def run(self) -> Outcome:
        claim, executor = self.claim, self.executor
        tenant_id = self.message.tenant_id
        context = patiently(executor, lambda: executor.engine.artifacts.opened(tenant_id, claim.context))
        if not evaluate_when(claim.definition, context):
            return Outcome("skipped")
        operation = executor.registry.operation(claim.operation)
        given = evaluate_with(claim.definition, context)
        self.stored = self._aside("the input", given.stored)
        names = sorted(given.secrets)
        self.secrets = patiently(executor, lambda: resolve_secrets(executor.secrets, tenant_id, names))
        values = given.resolve(self.secrets.values)
        faults = validate_spec(operation.input_schema, values)
        if faults:
            first = faults[0]
            raise OperationFailed(
                "invalid_input", f"{first.pointer or '/'}: {first.message}", retryable=False
            )
        reuse = patiently(executor, lambda: self._reuse(operation, given))
        found = None if reuse is None else patiently(executor, reuse.find)
        if found is not None:
            return Outcome("succeeded", self.stored, found.output)
        told = reporting(executor, self.message, claim.tries, self.secrets, self._artifacts())
        traced = tracing.span(claim.operation, quantum__operation=claim.operation)
        with secrets_in_use(self.secrets.values.values()), told as reports, traced:
            self.began = True
            output = operation.function(self._context(reports), **values)
        kept = self._aside("the output", self.secrets.mask(output))
        if reuse is not None:
            patiently(executor, reuse.offer)
        return Outcome("succeeded", self.stored, kept)

    def _reuse(self, operation: OperationSpec, given: StepInput) -> Reuse | None:
        executor = self.executor
        return reuse_of(executor.engine.database, executor.flags, self.message, self.claim, operation, given)

    def _aside(self, what: str, value: Any) -> Any:
        return patiently(self.executor, lambda: self._artifacts().aside(what, value))

    def _artifacts(self) -> StepArtifacts:
        engine, secrets = self.executor.engine, tuple(self.secrets.values.values())
        return StepArtifacts(engine.artifacts, engine.database, self.message, self.claim.tries, secrets)

    def interrupted(self) -> Outcome:
        """Tell a cancellation, a spent time limit, and a stray signal apart."""
        if patiently(self.executor, self._cancelling):
            return self._failed("cancelled", "cancelled", "the run was cancelled")
        limit = self._limit()
        if self.executor.clock() - self.started < limit - 1:
            # The signal was meant for the step before this one: repeat this attempt.
            return self._failed("retry", "interrupted", "interrupted by a signal", 0.0)
        return self.fault(OperationFailed("timeout", f"took longer than {limit:g} s", retryable=True))

    def fault(self, fault: Exception) -> Outcome:
        """Return what follows a failed attempt under the step's retry policy."""
        code = str(fault.code) if isinstance(fault, QuantumError) else "operation_raised"
        if code == "cancelled" and patiently(self.executor, self._cancelling):
            return self._failed("cancelled", "cancelled", "the run was cancelled")
        message, detail = message_of(fault), detail_of(fault)
        waits_s = self._waits_s(fault)
        if waits_s is not None:
            return self._failed("retry", code, message, waits_s, {**detail, "deferred": True})
        decision = decide_retry(
            policy_of(self.claim.definition), self.claim.attempt, fault, self.executor.random
        )
        if not decision.retry:
            return self._failed("failed", code, message, detail=detail)
        return self._failed("retry", code, message, max(decision.delay_s, pause_of(fault)), detail)

    def _waits_s(self, fault: Exception) -> float | None:
        """Return how long the step waits for what is away, as nothing was done yet; None for an attempt."""
        if self.claim.tries - self.claim.attempt >= DEFERRALS:
            return None
        if isinstance(fault, Deferred):
            return pause_of(fault)
        away = isinstance(fault, Unavailable) and fault.part == STORE and not self.began
        return STORE_PAUSE_S * (1 + self.executor.random()) if away else None

    def _failed(
        self, name: str, code: str, message: str, retry_in_s: float | None = None, detail: Any = None
    ) -> Outcome:
        error = {"code": code, "message": message, **({"detail": detail} if detail else {})}
        return Outcome(name, self.stored, None, self.secrets.mask(error), retry_in_s)

    def _limit(self) -> float:
        return float(self.claim.definition["timeout_s"])

    def _cancelling(self) -> bool:
        database = self.executor.engine.database
        state = hot.run_state(database, self.message.tenant_id, self.message.run_id)
        return state == "cancelling"

    def _context(self, reports: Reports) -> OperationContext:
        message, claim, executor = self.message, self.claim, self.executor
        return OperationContext(
            tenant_id=message.tenant_id,
            run_id=message.run_id,
            step=message.key,
            item=claim.context.get("index"),
            attempt=claim.attempt,
            idempotency_key=f"{message.run_id}:{message.key}:{claim.round}",
            timeout_s=self._limit(),
            cancelled=throttled(self._cancelling, executor.clock),
            resources=executor.resources,
            log=reports.log,
            heartbeat=reports.heartbeat,
            artifacts=reports.artifacts,
        )


def policy_of(definition: dict[str, Any]) -> RetryPolicy:
    """Return the retry policy of a step's definition."""
    return RetryPolicy(**definition["retry"])


def _settle(
    executor: Executor,
    message: StepMessage,
    lease: Lease,
    claim: Claim,
    outcome: Outcome,
    following: StepMessage | Lot | None,
) -> StepResult:
    """Write the outcome, claim what follows, send what it released; a lost claim changes nothing."""
    ok = outcome.name in ENDED_WELL
    settled = _finish(executor, message, lease, claim, outcome, following)
    finish = settled.finish
    if finish.verdict != "finished":
        return StepResult(False, "lost")
    log.debug("step_settled", extra={"outcome": outcome.name, "run_state": finish.run_state})
    if finish.needs_advance:
        _advance_or_leave(executor, message.tenant_id, message.run_id)
    if not finish.kept:
        ok, outcome = False, Outcome("failed", error={"code": "output_invalid"})
    told = (claim.operation, finish.run_state, settled.following, settled.claim, trace_id_of(claim))
    return StepResult(ok, outcome.name, outcome.error, *told)


@dataclass(frozen=True, slots=True)
class _Settled:
    """The finish of a step; what follows here, with its claim."""

    finish: hot.Finish
    following: StepMessage | None = None
    claim: Claim | None = None


def _finish(
    executor: Executor,
    message: StepMessage,
    lease: Lease,
    claim: Claim,
    outcome: Outcome,
    following: StepMessage | Lot | None,
) -> _Settled:
    database, tries, name = executor.engine.database, claim.tries, outcome.name
    input, output = outcome.input, outcome.output
    if isinstance(following, Lot):
        lot = following
        finish, taken = patiently(
            executor,
            lambda: lots.finish_and_take(
                database,
                message,
                tries,
                name,
                lot,
                lease,
                input=input,
                output=output,
                error=outcome.error,
                retry_in_s=outcome.retry_in_s,
            ),
        )
        return _Settled(finish) if taken is None else _Settled(finish, taken.message, taken.claim)
    if following is not None:
        finish, onward = patiently(
            executor,
            lambda: hot.finish_and_claim(
                database, message, tries, name, following, lease, input=input, output=output
            ),
        )
        return _Settled(finish, following if finish.kept else None, onward)
    finish = patiently(
        executor,
        lambda: hot.finish_step(
            database,
            message,
            tries,
            name,
            input=input,
            output=output,
            error=outcome.error,
            retry_in_s=outcome.retry_in_s,
        ),
    )
    return _Settled(finish)


def _advance_or_leave(executor: Executor, tenant_id: UUID, run_id: UUID) -> None:
    try:
        advance(executor.engine, tenant_id, run_id)
    except Exception:
        # The step is committed; what it released is unsent, so the dispatcher sends it within seconds.
        log.exception("advance_left_to_dispatcher")
