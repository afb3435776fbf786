"""Tenants, plans, runs written through the stores, with sessions to race in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg2
from psycopg2.extensions import connection as Session

from app.db import hot, nesting, plans
from app.db.ids import new_id
from app.domain.leases import Child, Lease, StepMessage
from tests.support.roles import RoleDatabases
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually

ACTOR = {"user_id": None, "email": "dev@example.org", "request_id": "req-1", "source_ip": "127.0.0.1"}
LEASE = Lease(UUID(int=1), Child(100, 1), "worker-1")
BROKER = "broker-1"
Graph = Mapping[str, Sequence[str]]


class Race:
    """A call that runs in a thread of its own, so that a test can watch it wait for a lock."""

    def __init__(self, session: Session, call: Callable[[], Any]) -> None:
        self.pid = session.info.backend_pid
        self._answer: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._answer.append(call()), daemon=True)
        self._thread.start()

    def result(self) -> Any:
        """Return what the call returned; fails when it does not end within ten seconds."""
        self._thread.join(10)
        assert self._answer, "the call has not ended"
        return self._answer[0]


class Spine(RoleDatabases):
    """One database with what a test needs to drive the SQL functions."""

    def __init__(self, urls: DatabaseUrls) -> None:
        super().__init__(urls)
        self.tenant = self.new_tenant()

    def plan(
        self,
        graph: Graph,
        *,
        fans: Sequence[str] = (),
        lenient: Sequence[str] = (),
        carriers: Mapping[str, int] | None = None,
        waits: Mapping[str, Mapping[str, Any]] | None = None,
        outcomes: Mapping[str, Mapping[str, str]] | None = None,
        parallel: Mapping[str, int] | None = None,
        calls: Mapping[str, str] | None = None,
        undo: Sequence[str] = (),
        on_failure: bool = True,
        queue: str = "default",
        tenant: UUID | None = None,
    ) -> str:
        """Register a plan of steps with their needs; `lenient` ones continue on failure.

        `parallel` gives fans their `max_parallel`, `calls` names the plans that steps run, `waits` says what
        steps wait for, `outcomes` of each step which need has to end otherwise than well, `undo` names steps
        with a compensation.
        """
        carriers, plan_hash, waits, outcomes = carriers or {}, uuid4().hex, waits or {}, outcomes or {}
        successors = {base: [other for other in graph if base in graph[other]] for base in graph}
        rows = [
            {
                "base": base,
                "seq": seq,
                "needs": list(needs),
                "successors": successors[base],
                "successors_on": [outcomes.get(other, {}).get(base, "success") for other in successors[base]]
                if outcomes
                else None,
                "is_fan": base in fans,
                "operation": kind_of(base, waits, calls or {}),
                "queue": queue,
                "soft_timeout": 300,
                "definition": {
                    **_facts(needs, base in lenient),
                    **only(base, max_parallel=parallel, wait=waits, needs_on=outcomes),
                    **only(base, workflow={key: called(child) for key, child in (calls or {}).items()}),
                },
                "first_carrier": carriers.get(base),
            }
            for seq, (base, needs) in enumerate(graph.items())
        ]
        rows += [_undo_row(base, graph[base], on_failure, run=base in (calls or {})) for base in undo]
        with self.app.tenant(tenant or self.tenant) as connection:
            plans.register(connection, tenant or self.tenant, plan_hash, {"steps": rows}, rows)
        return plan_hash

    def declare(
        self,
        plan_hash: str,
        *,
        broker: str | None = None,
        labels: Mapping[str, str] | None = None,
        limits: Mapping[str, float] | None = None,
        tenant: UUID | None = None,
        **members: Any,
    ) -> UUID:
        """Declare one intent, its run with these limits in seconds; return the run.

        `members` are more of the item: hold, pool, priority.
        """
        tenant = tenant or self.tenant
        members |= limits or {}
        item = self.item(plan_hash, broker=broker, labels=dict(labels or {}), **members)
        with self.app.tenant(tenant) as connection:
            return hot.declare_intents(connection, tenant, ACTOR, [item])[0].run_id

    def item(self, plan_hash: str, *, broker: str | None = None, **members: Any) -> dict[str, Any]:
        """Return one item as `declare_intents` takes it."""
        return {
            "intent_id": str(new_id()),
            "run_id": str(new_id()),
            "type": "core.echo",
            "type_version": 1,
            "name": "n",
            "mode": "job",
            "spec": {"x": 1},
            "spec_hash": "h",
            "labels": {},
            "priority": 0,
            "workflow": "w",
            "workflow_version": 1,
            "plan_hash": plan_hash,
            "broker_epoch": broker,
            **members,
        }

    def start(self, graph: Graph, **options: Any) -> UUID:
        """Declare a run of the graph whose every step can be claimed under epoch 1 once it is ready."""
        carriers = {base: seq for seq, base in enumerate(graph) if base not in options.get("fans", ())}
        return self.declare(self.plan(graph, carriers=carriers, **options), broker=BROKER)

    def message(self, run: UUID, key: str, epoch: int | None = None) -> StepMessage:
        return StepMessage(
            self.tenant, run, key, self.step(run, key)["dispatch_epoch"] if epoch is None else epoch
        )

    def claim(self, run: UUID, key: str, epoch: int | None = None, lease: Lease = LEASE) -> hot.Claim:
        return hot.claim_step(self.app, self.message(run, key, epoch), lease)

    def finish(
        self, run: UUID, key: str, tries: int, outcome: str = "succeeded", **values: Any
    ) -> hot.Finish:
        return hot.finish_step(self.app, self.message(run, key), tries, outcome, **values)

    def perform(self, run: UUID, key: str, outcome: str = "succeeded", **values: Any) -> hot.Finish:
        """Claim the step, finish it."""
        claim = self.claim(run, key)
        assert claim.verdict == "claimed", (key, claim)
        return self.finish(run, key, claim.tries, outcome, **values)

    def send(self, run: UUID) -> Mapping[str, int]:
        """Mark all that is ready as sent, each step with a carrier of its own; fans are left out."""
        with self.app.tenant(self.tenant) as connection:
            ready = hot.ready_steps(connection, self.tenant, run, 1000)
            keys = [step.key for step in ready.steps if step.definition is None] if ready else []
            return hot.mark_sent(
                connection, self.tenant, run, keys, list(range(100, 100 + len(keys))), BROKER
            ).epochs

    def expand(self, run: UUID, base: str, items: Sequence[Any]) -> bool:
        with self.app.tenant(self.tenant) as connection:
            return hot.expand_step(connection, self.tenant, run, base, items)

    def call_child(self, run: UUID, key: str, spec: Any = None, deepest: int = 5) -> nesting.Begun:
        """Let a ready step become a run."""
        with self.app.tenant(self.tenant) as connection:
            return nesting.start_child(connection, self.tenant, run, key, spec or {}, deepest)

    def tell(self, child: UUID, output: Any = None) -> nesting.Told:
        """End the step that waits for this run."""
        with self.app.tenant(self.tenant) as connection:
            return nesting.end_child(connection, self.tenant, child, output, None)

    def step(self, run: UUID, key: str) -> dict[str, Any]:
        rows = self.admin.call(
            "SELECT to_jsonb(s) FROM run_steps s WHERE run_id = %s AND key = %s", (run, key)
        )
        return dict(rows[0][0])

    def states(self, run: UUID) -> dict[str, str]:
        return dict(
            self.admin.call("SELECT key, state FROM run_steps WHERE run_id = %s ORDER BY key", (run,))
        )

    def run(self, run: UUID) -> dict[str, Any]:
        return dict(self.admin.call("SELECT to_jsonb(r) FROM runs r WHERE id = %s", (run,))[0][0])

    def events(self, run: UUID) -> list[str]:
        rows = self.admin.call("SELECT type FROM events WHERE subject = %s ORDER BY seq", (f"runs/{run}",))
        return [row[0].removeprefix("io.quantum.") for row in rows]

    @contextmanager
    def session(self, url: str | None = None) -> Iterator[Session]:
        """A connection of the app role with an open transaction as this tenant, rolled back at the end."""
        session = psycopg2.connect(url or self.urls.app)
        try:
            with session.cursor() as cursor:
                cursor.execute("SELECT set_config('app.tenant_id', %s, true)", (str(self.tenant),))
            yield session
        finally:
            session.close()

    def wait_blocked(self, race: Race) -> None:
        """Wait until the racing call waits for a lock that somebody holds."""
        eventually(
            lambda: self.admin.call("SELECT cardinality(pg_blocking_pids(%s)) > 0", (race.pid,))[0][0],
            within=5,
        )


def kind_of(base: str, *kinds: Mapping[str, Any]) -> str:
    """The operation of a step that waits, that is a workflow, or of any other one."""
    return next(
        (name for name, of in zip(("wait", "workflow"), kinds, strict=True) if base in of), "core.echo"
    )


def only(base: str, **members: Mapping[str, Any] | None) -> dict[str, Any]:
    """The members of a step's definition that are given for this step."""
    return {name: of[base] for name, of in members.items() if of and base in of}


def called(plan_hash: str) -> dict[str, Any]:
    """What the definition of a step says of the workflow that it runs."""
    return {"name": "child", "version": 1, "plan_hash": plan_hash}


def ask(session: Session, statement: str, *values: Any) -> tuple[Any, ...]:
    """Return the first row of a statement, within the session's open transaction."""
    with session.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    assert row is not None
    return row


def _facts(needs: Sequence[str], lenient: bool) -> dict[str, Any]:
    """Return what every definition says: its expressions read the spec, all needs."""
    reads = {"refs": list(needs), "uses_spec": True}
    return {
        **reads,
        **{f"foreach_{name}": value for name, value in reads.items()},
        "continue_on_failure": lenient,
    }


def _undo_row(base: str, needs: Sequence[str], on_failure: bool, *, run: bool) -> dict[str, Any]:
    """Return the plan's row that compensates a step, or the run that the step was."""
    return {
        "base": f"undo-{base}",
        "seq": 0,
        "needs": [],
        "successors": [],
        "is_fan": False,
        "operation": "workflow" if run else "core.echo",
        "queue": "default",
        "soft_timeout": 300,
        "definition": {**_facts(needs, False), "on_failure": on_failure, **({"undo": True} if run else {})},
        "first_carrier": None,
        "undoes": base,
    }
