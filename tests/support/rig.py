"""The whole platform as real processes, driven by a test: submit, watch rows, kill, look into the broker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import redis
from celery.canvas import Signature
from psycopg2.extensions import connection as Connection
from psycopg2.extras import RealDictCursor, register_uuid

from app.bootstrap.beat import BeatParts
from app.bootstrap.celery import build_celery
from app.bootstrap.intake import build_submit
from app.db.engine import Database
from app.domain.identity import Actor
from app.domain.modules import ModuleRegistry
from app.messaging.celery_app import QuantumCelery
from app.messaging.queues import is_amqp
from app.services.load_modules import load_modules
from app.services.submit import Submission, SubmitDeps, submit_intents
from app.services.type_book import TypeBook
from app.settings import Settings, inherited_environment, load_settings
from tests.support.brokers import Broker, broker_of, over_rabbitmq
from tests.support.ledger import Ledger, StepRow, as_row, check
from tests.support.next_release import environment_of
from tests.support.prepared import Program
from tests.support.processes import OsProcess
from tests.support.testkit import LEDGER
from tests.support.waiting import eventually
from workflows.canvas import STEP_TASK
from workflows.catalog import Catalogue, IntentType
from workflows.parsing import parse_definition

STRETCHES = "WORKER_STRETCHES"
TESTKIT = "tests.support.testkit:module"
WORKER = ("celery", "-A", "app.worker", "worker", "--without-gossip", "--without-mingle")
BEAT = ("celery", "-A", "app.worker", "beat", "-S", "tasks.beat:PostgresScheduler")
ENDED = frozenset({"succeeded", "failed", "cancelled"})

register_uuid()


class Inline:
    """Sends at once, in the caller: tests of the API's thread start a real API."""

    def __init__(self, epoch: Callable[[], str | None]) -> None:
        self._epoch = epoch

    def epoch(self) -> str | None:
        return self._epoch()

    def later(self, job: Callable[[], None]) -> None:
        job()


class Rig:
    """One database plus one broker with whatever processes a test starts on them."""

    def __init__(self, environ: Mapping[str, str], folder: Path, stack: ExitStack) -> None:
        asked = inherited_environment().get(STRETCHES)  # the suite passes both ways
        chosen = {STRETCHES: asked} if asked else {}
        own = {"QUANTUM_DATA_ROOTS": str(folder), "QUANTUM_MODULES": TESTKIT}
        self.environ = {**chosen, **environ, **own}
        if over_rabbitmq() and not is_amqp(environ.get("BROKER_URL", "")):
            raise AssertionError("this suite has no RabbitMQ: give it one, or mark it as one about Redis")
        self.folder = folder
        self.stack = stack
        self._sessions = threading.local()
        self._kept: list[OsProcess] = []
        self._started: dict[str, OsProcess] = {}

    @cached_property
    def actor(self) -> Actor:
        """Someone of a tenant of this rig's own."""
        return self.tenant()

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.environ)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / LEDGER)

    # -- rows -----------------------------------------------------------------------------------------------

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement as the system role; again when the connection was gone before it."""
        session = self._session()
        try:
            return fetched(session, statement, values)
        except psycopg2.Error:
            if not session.closed:
                raise
        return fetched(self._session(), statement, values)

    def _session(self) -> Connection:
        """Return this thread's own connection, kept open: a test that waits looks twenty times a second."""
        session: Connection | None = getattr(self._sessions, "session", None)
        if session is None or session.closed:
            session = self._sessions.session = psycopg2.connect(self.settings.database_system_url)
            session.autocommit = True
            self.stack.callback(session.close)
        return session

    def tenant(self) -> Actor:
        """Make a tenant and return an actor of it."""
        tenant_id, slug = uuid4(), f"t{uuid4().hex[:12]}"
        self.rows("INSERT INTO tenants (id, slug, name) VALUES (%s, %s, %s)", tenant_id, slug, slug)
        return Actor(tenant_id, slug, None, "tester@example.org", frozenset({"tenant_admin"}), "test")

    def run(self, run_id: UUID) -> dict[str, Any]:
        return self.rows("SELECT * FROM runs WHERE id = %s", run_id)[0]

    def state(self, run_id: UUID) -> str:
        return str(self.run(run_id)["state"])

    def steps(self, run_id: UUID) -> dict[str, dict[str, Any]]:
        found = self.rows("SELECT * FROM run_steps WHERE run_id = %s ORDER BY seq, item", run_id)
        return {row["key"]: row for row in found}

    def step(self, run_id: UUID, key: str) -> dict[str, Any]:
        return self.steps(run_id)[key]

    def count(self, run_id: UUID, state: str) -> int:
        return sum(row["state"] == state for row in self.steps(run_id).values())

    def ends(self, run_id: UUID, state: str = "succeeded", *, within: float = 45.0) -> None:
        """Wait until the run has ended, in this state."""
        last: dict[str, Any] = {}

        def ended() -> bool:
            self.revive()
            last.update(self.run(run_id))
            return last["state"] in ENDED

        try:
            eventually(ended, within=within, what=f"the run ends {state}")
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.told(run_id)}") from None
        assert last["state"] == state, self.told(run_id)

    def told(self, run_id: UUID) -> str:
        """Return what somebody who debugs wants to see."""
        shown = ("state", "needs_left", "sent_at", "ready_at", "dispatch_epoch", "tries", "kills", "error")
        lines = [f"{key}: {[row[name] for name in shown]}" for key, row in self.steps(run_id).items()]
        logs = [f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log")]
        return "\n".join([f"run {run_id}: {self.state(run_id)}", *lines[:60], *logs])

    def checks(self, run_id: UUID, *, kills: int = 0) -> None:
        """Assert the invariants of the ledger against the rows of a run that ended."""
        rows = self.rows(
            "SELECT key, base, state, round, tries, extract(epoch FROM finished_at)::float AS finished_at"
            " FROM run_steps WHERE run_id = %s",
            run_id,
        )
        attempts: dict[str, dict[str, int]] = {}
        for row in self.rows(
            "SELECT key, state, count(*) AS n FROM step_attempts WHERE run_id = %s GROUP BY 1, 2", run_id
        ):
            attempts.setdefault(row["key"], {})[row["state"]] = row["n"]
        found: list[StepRow] = [as_row({**row, "attempts": attempts.get(row["key"], {})}) for row in rows]
        plan = self.rows(
            "SELECT base, needs FROM plan_steps WHERE plan_hash = %s AND tenant_id = %s",
            self.run(run_id)["plan_hash"],
            self.run(run_id)["tenant_id"],
        )
        check(self.ledger, str(run_id), found, {row["base"]: row["needs"] for row in plan}, kills=kills)

    # -- work -----------------------------------------------------------------------------------------------

    def submit(
        self, steps: Sequence[Mapping[str, Any]], spec: Any = None, *, actor: Actor | None = None
    ) -> UUID:
        """Submit one intent whose workflow has these steps; return its run."""
        name = f"test.w{uuid4().hex[:8]}"
        return self.submit_definition({"name": name, "version": 1, "steps": list(steps)}, spec, actor=actor)

    def submit_definition(
        self,
        document: Mapping[str, Any],
        spec: Any = None,
        *,
        actor: Actor | None = None,
        children: Sequence[Mapping[str, Any]] = (),
    ) -> UUID:
        """Submit one intent of a workflow document, whose steps may run `children`; return its run."""
        deps = self.deps(document, *children)
        submission = Submission(type=document["name"], spec={} if spec is None else spec)
        outcome = submit_intents(deps, actor or self.actor, [submission])[0]
        if outcome.error is not None:
            raise outcome.error
        assert outcome.run_id is not None
        return outcome.run_id

    def deps(self, document: Mapping[str, Any], *children: Mapping[str, Any]) -> SubmitDeps:
        """Return the acceptance of intents with one more type, whose workflow is the document."""
        definition, *others = (parse_definition(dict(one)) for one in (document, *children))
        kind = IntentType(definition.name, 1, "job", "", {}, definition.name, definition.version)
        catalogue = Catalogue((definition, *others), (kind,), {})
        base = self.base
        return replace(base, types=TypeBook(catalogue, self.registry, base.engine.plans))

    @cached_property
    def registry(self) -> ModuleRegistry:
        return ModuleRegistry(load_modules((TESTKIT,)))

    @cached_property
    def base(self) -> SubmitDeps:
        """The wiring of an API, except that it sends before it answers."""
        database = Database(self.settings.database_url)
        deps = build_submit(self.settings, database)
        return replace(deps, outbox=Inline(deps.engine.sender.epoch))

    @cached_property
    def beat_parts(self) -> BeatParts:
        """What a beat is made of, in this process."""
        parts: BeatParts = build_celery(self.settings).container.beat
        return parts

    @cached_property
    def celery(self) -> QuantumCelery:
        """A Celery application on this rig's broker."""
        return build_celery(self.settings)

    def open_gate(self, name: str) -> None:
        """Let the operations that hold at this gate go on."""
        (self.folder / name).touch()

    # -- processes ------------------------------------------------------------------------------------------

    def start(
        self, name: str, command: Sequence[str], *, tree: Path | None = None, **environ: str
    ) -> OsProcess:
        """Start a process of the platform, or of the release in `tree`; it ends with the rig."""
        release = {} if tree is None else environment_of(tree)
        process = Program(
            command,
            log=self.folder / f"{name}.log",
            environ={**self.environ, **release, **environ},
            folder=tree,
        )
        self.stack.callback(process.end)
        self._started[name] = process
        return process.start()

    def restart(self, name: str) -> None:
        """End a worker in good order, start it anew, wait for its first heartbeat."""
        process = self._started[name]
        process.send(signal.SIGTERM)
        process.wait()
        process.start()
        self.beats(process, children=1)

    def replace_killed(self, name: str) -> None:
        """Kill a worker's whole group, frozen or not, start it anew as its supervisor does."""
        process = self._started[name]
        process.end()
        process.start()

    def pid(self, name: str) -> int:
        """Return the process id of what was started under this name."""
        return self._started[name].pid

    def freeze(self, name: str) -> None:
        """Stop a worker with its pool in their tracks."""
        os.killpg(self.pid(name), signal.SIGSTOP)

    def revive(self) -> None:
        """Start the kept workers that ended, as the supervisor does: some do when their broker is killed."""
        for process in self._kept:
            if process.exit_code is not None:
                process.start()

    def worker(self, name: str = "worker", *, concurrency: int = 2, **options: Any) -> OsProcess:
        """Start a worker and wait for its first heartbeat."""
        process = self.start_worker(name, concurrency=concurrency, **options)
        self.beats(process, children=concurrency)
        return process

    def start_worker(
        self, name: str, *, concurrency: int = 2, queues: str = "default", tree: Path | None = None
    ) -> OsProcess:
        """Start a worker."""
        command = (*WORKER, "-n", f"{name}@%h")
        slots = str(concurrency)
        return self.start(name, command, tree=tree, WORKER_CONCURRENCY=slots, WORKER_QUEUES=queues)

    def kept_worker(self) -> OsProcess:
        """Start a worker that `ends` starts again when it ended."""
        process = self.worker()
        self._kept.append(process)
        return process

    def beats(self, process: OsProcess, *, children: int) -> None:
        """Wait until the worker's row lists so many live children."""

        def listed() -> bool:
            assert process.exit_code is None, process.output[-3000:]
            found = self.rows(
                "SELECT jsonb_array_length(children) AS n FROM workers WHERE pid = %s"
                " ORDER BY started_at DESC",
                process.pid,
            )
            return bool(found) and found[0]["n"] >= children

        eventually(listed, within=30.0, what=f"{process.log.name} beats\n{process.output[-2000:]}")

    def beat(self, name: str = "beat", *, tree: Path | None = None) -> OsProcess:
        """Start beat."""
        return self.start(name, (*BEAT, "--pidfile=", "-s", str(self.folder / f"{name}.db")), tree=tree)

    # -- the broker -----------------------------------------------------------------------------------------

    @cached_property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.settings.redis_url)

    @cached_property
    def broker(self) -> Broker:
        """A look into the broker."""
        return broker_of(self.settings.broker_url, self.celery, self._live_workers)

    def _live_workers(self) -> int:
        return int(self.rows("SELECT count(*) AS n FROM workers WHERE state = 'live'")[0]["n"])

    def depth(self, queue: str = "default") -> int:
        """Return how many messages wait in the broker."""
        return self.broker.depth(queue)

    def messages(self, queue: str = "default") -> list[dict[str, Any]]:
        """Return the messages that wait in the broker, each with its embedded chain and chord."""
        return self.broker.messages(queue)

    def delivered(self) -> list[dict[str, Any]]:
        """Return the messages that a worker has but has not confirmed."""
        return self.broker.delivered()

    def quiet(self, run_id: UUID) -> None:
        """Wait until the broker holds no message of the run."""

        def gone() -> bool:
            held = [*self.messages(), *self.delivered()]
            return not any(message["id"].startswith(str(run_id)) for message in held)

        eventually(gone, within=20.0, every=0.2, what="the broker holds no message of the run")

    def resend(self, run_id: UUID, key: str, epoch: int, queue: str = "default") -> None:
        """Put a copy of a step's message into the broker, as a redelivery would."""
        tenant = self.run(run_id)["tenant_id"]
        Signature(
            STEP_TASK,
            args=(str(tenant), str(run_id), key, epoch),
            options={"task_id": f"{run_id}:{key}:{epoch}", "queue": queue},
            immutable=True,
        ).apply_async()


def fetched(session: Connection, statement: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """Execute one statement; return its rows."""
    with session.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(statement, values)
        return [dict(row) for row in cursor.fetchall()] if cursor.description else []


@contextmanager
def rig_on(environ: Mapping[str, str], folder: Path) -> Iterator[Rig]:
    """Yield a rig on running servers; ends every process it started."""
    with ExitStack() as stack:
        yield Rig(dict(environ), folder, stack)


def kill(pid: int) -> None:
    """Kill a process with -9, as the kernel would."""
    os.kill(pid, signal.SIGKILL)


def note(step: str, *needs: str, **more: object) -> dict[str, object]:
    """Return a step that leaves its trace in the ledger."""
    return {"id": step, "uses": "testkit.note", "needs": list(needs), **more}


def held(step: str, gate: str, *needs: str, **more: object) -> dict[str, object]:
    """Return a step that holds until the test opens its gate."""
    return {"id": step, "uses": "testkit.hold", "with": {"gate": gate}, "needs": list(needs), **more}
