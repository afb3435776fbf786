"""The deliverer: events fanned out to webhooks, sent, tried again, at least once, in order per subject."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final
from uuid import UUID

from app.db.engine import Database
from app.db.webhook_work import Key, PostgresWebhooks, Result
from app.domain.breakers import Breaker, after
from app.domain.errors import Unavailable
from app.domain.webhooks import Answer, Delivery, DeliveryRules, verdict
from app.observability.context import event_context
from app.observability.logging import get_log
from app.observability.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_BREAKERS, WEBHOOK_LAG, WEBHOOK_SECONDS
from app.security.key_ring import KeyMissing
from app.security.secret_box import SecretBox, SecretUnreadable
from app.services.flags import Switches
from app.services.manage_webhooks import disable_failing, disable_gone, signing_secrets
from app.services.webhook_attempt import Attempts, Endpoint, Line
from app.services.webhook_queue import Hall, Queue

log = get_log(__name__)
_LOGGER = logging.getLogger(__name__)

FANNED_AT_ONCE: Final = 200
"""Events of each shard in one transaction."""
LOADED: Final = 50
"""Subjects of one webhook in hand."""
IDLE_S: Final = 0.25
GATHER_S: Final = 0.02
LONGEST_BACKOFF_S: Final = 10.0
EXPIRE_EVERY_S: Final = 60.0
LOOK_EVERY_S: Final = 5.0
LONGEST_WAIT_S: Final = 7 * 86_400.0
"""A delivery that waits longer, behind a disabled webhook or a slow one, goes to the dead letters."""
SECRETS_KEPT_S: Final = 60.0
"""A secret that ended its overlap signs so much longer."""
EXPIRED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Sent:
    """One attempt of a chain, or its end (without an answer)."""

    queue: Queue
    subject: str
    delivery: Delivery | None = None
    answer: Answer | None = None


@dataclass(slots=True)
class Deliverer:
    """One process that delivers; any number may run.

    `owner` names it, `random` draws from 0 to 1, `clock` counts seconds, `connect` makes a line.
    """

    work: PostgresWebhooks
    database: Database
    box: SecretBox
    attempts: Attempts
    connect: Callable[[], Line]
    owner: str
    rules: DeliveryRules
    random: Callable[[], float]
    clock: Callable[[], float]
    flags: Switches
    hall: Hall = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)
    _sent: SimpleQueue[_Sent] = field(default_factory=SimpleQueue)
    _renew_at: float = 0.0
    _fan_at: float = 0.0
    _claim_at: float = 0.0
    _expire_at: float = 0.0
    _look_at: float = 0.0

    def __post_init__(self) -> None:
        self.hall = Hall(self.rules)
        self._pool = ThreadPoolExecutor(self.rules.threads, thread_name_prefix="webhook")

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Deliver until `stopped(seconds)`, which waits at most so long, returns true; then end in order."""
        failures = 0
        prepared = False
        pause = 0.0
        while not stopped(pause):
            try:
                if not prepared:
                    self.work.prepare()
                    prepared = True
                busy = self.turn()
                failures = 0
            except Exception as error:
                failures += 1
                if isinstance(error, Unavailable):
                    log.warning("webhooks_wait", part=error.part, failures=failures)
                else:
                    # Whatever is wrong with rows of one tenant must not end the process that serves them all.
                    log.exception("webhooks_failed", failures=failures)
                pause = min(0.1 * 2 ** min(failures, 10), LONGEST_BACKOFF_S)
                continue
            # While something is under way the wait is for its outcome, not for the clock.
            pause = 0.0 if busy or self.hall.under_way.total() else IDLE_S
        self._leave()

    def turn(self) -> bool:
        """Do what is to be done now; tells whether there was anything. Raises Unavailable."""
        self._hear(GATHER_S if self.hall.under_way.total() else 0.0)
        now = self.clock()
        if now >= self._renew_at:
            self._renew()
            self._renew_at = self.clock() + self.rules.lease_s / 4
        moved = 0
        if now >= self._fan_at:
            moved = self.work.fan_out(FANNED_AT_ONCE)
            self._fan_at = 0.0 if moved >= FANNED_AT_ONCE else self.clock() + IDLE_S / 4
        self._tend(now)
        self._write()
        taken = self._claim()
        self._load()
        sent = self._send()
        return bool(moved or taken or sent)

    def _hear(self, wait_s: float) -> None:
        """Take in what has been sent; judge it."""
        try:
            heard = self._sent.get(timeout=wait_s) if wait_s else self._sent.get_nowait()
            while True:
                self._judge(heard)
                heard = self._sent.get_nowait()
        except Empty:
            return

    def _judge(self, sent: _Sent) -> None:
        queue = sent.queue
        if sent.delivery is None or sent.answer is None:
            self.hall.ended(queue, sent.subject)
            return
        answer = sent.answer
        decided = verdict(self.rules, sent.delivery, answer, self.random())
        queue.results.append(Result(sent.delivery, answer, decided))
        outcome = "gone" if answer.gone else {"pending": "retried"}.get(decided.state, decided.state)
        WEBHOOK_ATTEMPTS.labels(outcome).inc()
        WEBHOOK_SECONDS.observe(answer.latency_s)
        # An attempt that was under way when the breaker opened says nothing new.
        if not queue.closing:
            queue.breaker, hold_s = after(self.rules.breaker, queue.breaker, answer.succeeded, self.random())
            if hold_s:
                queue.expire = True
                with event_context(sent.delivery.event, webhook_id=queue.endpoint.webhook_id):
                    log.warning("webhook_breaker_opens", hold_s=hold_s)
            queue.hold_s = max(hold_s, min(answer.retry_after_s or 0.0, self.rules.longest_pause_s))
        if queue.hold_s or answer.gone:
            queue.close()

    def _renew(self) -> None:
        """Keep the leases; what may not be delivered any more, or was changed, is given up."""
        if not self.hall.queues:
            return
        held = self.work.renew(self.owner, self.rules.lease_s, self.hall.queues)
        for key, queue in self.hall.queues.items():
            old = self.clock() - queue.opened_at > SECRETS_KEPT_S
            if held.get(key) != queue.endpoint.version or old:
                queue.close()

    def _write(self) -> None:
        """Write outcomes; give up the queues that have nothing to send."""
        for key, queue in list(self.hall.queues.items()):
            leaving = not queue.busy and not queue.ready and (queue.closing or not queue.results)
            if not queue.results and not leaving:
                continue
            try:
                self._write_one(key, queue, leaving)
            except Unavailable:
                raise
            except Exception:
                # The others' outcomes are written; this one's are lost, so that it is sent again, later.
                log.exception("webhook_not_written", tenant_id=str(key[0]), webhook_id=str(key[1]))
                queue.hold_s = self.rules.breaker_first_s
                queue.close()

    def _write_one(self, key: Key, queue: Queue, leaving: bool) -> None:
        results, queue.results = queue.results, []
        queue.look_at = 0.0
        expire_s = self.rules.keep_trying_s if queue.expire else None
        if any(result.answer.gone for result in results):
            disable_gone(self.database, *key)
        failing_s = self.work.finish(key, self.owner, results, queue.breaker, queue.hold_s, expire_s, leaving)
        if failing_s is not None and failing_s >= self.rules.disable_after_s:
            disable_failing(self.database, *key)
        queue.expire = False
        if leaving:
            queue.line.close()
            del self.hall.queues[key]
        elif failing_s is None:
            queue.close()

    def _claim(self) -> int:
        """Take queues that are due, about twice as many as there are threads."""
        room = 2 * self.rules.threads - len(self.hall.queues)
        if room <= 0 or self.clock() < self._claim_at:
            return 0
        claimed = self.work.claim(self.owner, self.rules.lease_s, room)
        for key, breaker in claimed.items():
            self.hall.queues[key] = self._opened(*key, breaker)
        self._claim_at = 0.0 if claimed else self.clock() + IDLE_S / 4
        return len(claimed)

    def _opened(self, tenant_id: UUID, webhook_id: UUID, breaker: Breaker) -> Queue:
        try:
            secrets, row = signing_secrets(self.box, self.database, tenant_id, webhook_id)
        except (KeyMissing, SecretUnreadable):
            # One tenant's key must not keep the others from being served: it is tried again, later.
            log.exception("webhook_secret_unreadable", tenant_id=str(tenant_id), webhook_id=str(webhook_id))
            secrets, row = [], None
        version, url = (row["version"], row["url"]) if row is not None else (0, "")
        endpoint = Endpoint(tenant_id, webhook_id, version, url, secrets)
        queue = Queue(endpoint, self.connect(), breaker, opened_at=self.clock())
        if row is None or not endpoint.secrets or not self.flags.on("webhooks", tenant_id):
            queue.hold_s = self.rules.breaker_first_s
            queue.close()
        return queue

    def _load(self) -> None:
        """Read what is next of the queues that could send more."""
        for queue in self.hall.hungry(self.clock()):
            whole = queue.breaker.closed
            found = self.work.batch(
                queue.key, queue.subjects, LOADED if whole else 1, self.rules.chain if whole else 1
            )
            queue.ready.extend(found)
            queue.look_at = 0.0 if found else self.clock() + IDLE_S

    def _send(self) -> int:
        count = 0
        while (taken := self.hall.next()) is not None:
            self._pool.submit(self._carry, *taken)
            count += 1
        return count

    def _carry(self, queue: Queue, chain: list[Delivery]) -> None:
        """Send the events of one subject in order, up to the first that fails: those behind it wait."""
        subject = chain[0].event.subject
        try:
            for delivery in chain:
                with event_context(delivery.event, webhook_id=queue.endpoint.webhook_id):
                    answer = self.attempts.attempt(queue.line, queue.endpoint, delivery)
                    if delivery.event.trace is not None:
                        # Its trace id finds the lines of every process that worked for the run.
                        log.info("webhook_attempted", status=answer.status, error=answer.error)
                    elif _LOGGER.isEnabledFor(logging.DEBUG):
                        log.debug("webhook_attempted", status=answer.status, error=answer.error)
                self._sent.put(_Sent(queue, subject, delivery, answer))
                if not answer.succeeded or queue.closing:
                    break
        except Exception:
            # Whatever is wrong with this one, it is tried again by whoever has the lease next.
            with event_context(chain[0].event, webhook_id=queue.endpoint.webhook_id):
                log.exception("webhook_attempt_failed")
            queue.close()
        finally:
            self._sent.put(_Sent(queue, subject))

    def _tend(self, now: float) -> None:
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self.work.expire(LONGEST_WAIT_S, EXPIRED_AT_ONCE)
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            standing = self.work.standing()
            WEBHOOK_LAG.set(max(standing.lag_s, 0.0))
            WEBHOOK_BREAKERS.set(standing.open_breakers)

    def _leave(self) -> None:
        """Wait for what is under way, write it, give up the leases."""
        for queue in self.hall.queues.values():
            queue.close()
        until = self.clock() + self.rules.timeout_s
        try:
            while self.hall.under_way.total() and self.clock() < until:
                self._hear(GATHER_S)
                if self.clock() >= self._renew_at:
                    self.work.renew(self.owner, self.rules.lease_s, self.hall.queues)
                    self._renew_at = self.clock() + self.rules.lease_s / 4
            self._write()
            self.work.release(self.owner)
        except Unavailable:
            # The leases run out by themselves; what was sent is sent again, with the same id.
            log.warning("webhooks_left_leases", owner=self.owner)
        self._pool.shutdown(wait=False, cancel_futures=True)
