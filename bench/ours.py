"""The platform as a system under measure: its shipped processes, driven over HTTP, verified from the rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

import psycopg2

from app.client.http import ApiClient
from app.domain.identity import Actor
from app.services.ports import Engine
from app.services.submit import Submission, SubmitDeps, submit_intents
from bench.figures import OURS
from bench.wire import Target

CHAIN, SHORT_CHAIN, FANOUT = "bench.chain", "bench.chain3", "bench.fanout"
STEPS = {CHAIN: 5, SHORT_CHAIN: 3, FANOUT: 52}
WORK_WITHIN_S = 300.0
ENDED = ("succeeded", "failed", "cancelled")


class NotVerified(Exception):
    """The rows do not say that the work was done: its figure is not printed."""


class Platform:
    """Runs the works as intents; the end of a run is seen in its row, one run after the other."""

    name = OURS

    def __init__(
        self, client: ApiClient, token: str, database_url: str, deps: SubmitDeps | None = None
    ) -> None:
        self._client = client
        self._deps = deps
        self._token = token
        self._before = 0
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True
        tenant = client.get("/me")["tenant_id"]
        self._ask("SELECT set_config('app.tenant_id', %s, false)", tenant)

    @cached_property
    def actor(self) -> Actor:
        """The tenant's administrator, for calls of services."""
        me = self._client.get("/me")
        return Actor(
            UUID(me["tenant_id"]),
            me["tenant"],
            UUID(me["user_id"]),
            me["email"],
            frozenset(me["roles"]),
            "bench",
            "127.0.0.1",
        )

    @property
    def engine(self) -> Engine:
        """What the services of this process share; raises RuntimeError without them."""
        if self._deps is None:
            raise RuntimeError("no services to call")
        return self._deps.engine

    def echo_plan(self) -> str:
        """The hash of the plan of one echo, which the tenant has once such an intent was submitted."""
        self._wait([self._submit("core.echo", {"message": "hello"})], pause_s=0.01)
        return str(self._ask("SELECT plan_hash FROM runs WHERE type_name = 'core.echo' LIMIT 1")[0])

    def close(self) -> None:
        """Give the connection back."""
        self._database.close()

    def chains(self, runs: int) -> float:
        """Seconds from the first submission to the last end of `runs` chains of 5."""
        return self._batch(CHAIN, runs)

    def fanouts(self, runs: int) -> float:
        """Seconds for `runs` fan-outs of 1 + 50 + 1."""
        return self._batch(FANOUT, runs)

    def latencies(self, runs: int) -> list[float]:
        """Seconds of each of `runs` chains of 3, by service calls one after the other on an idle system."""
        found: list[float] = []
        ids: list[str] = []
        for _ in range(runs):
            began = time.perf_counter()
            ids.append(self._call(SHORT_CHAIN))
            self._wait(ids[-1:], pause_s=0.0005)
            found.append(time.perf_counter() - began)
        self._verify(SHORT_CHAIN, ids)
        return found

    def submissions(self, runs: int) -> float:
        """Seconds that one client takes to submit `runs` chains of 5 by service calls; then waits."""
        self._call(CHAIN)  # types, plans, connections are there from now on
        began = time.perf_counter()
        ids = [self._call(CHAIN) for _ in range(runs)]
        took = time.perf_counter() - began
        self._wait(ids, pause_s=0.02)
        self._verify(CHAIN, ids)
        return took

    def reading(self) -> Target:
        """The request for a run that has ended, with its steps."""
        run_id = self._submit(CHAIN)
        self._wait([run_id], pause_s=0.005)
        return self._target("GET", f"/api/v1/runs/{run_id}", b"", 200)

    def submitting(self) -> Target:
        """The request that submits a chain of 5."""
        self._before = self._count()
        body = json.dumps({"type": CHAIN, "spec": {}}).encode()
        return self._target("POST", "/api/v1/intents", body, 202)

    def _target(self, method: str, path: str, body: bytes, status: int) -> Target:
        return Target(self._client.base_url, self._token, method, path, body, status, lambda: str(uuid4()))

    def settle(self, submitted: int) -> None:
        """Wait until no run is open; raises `NotVerified` unless each submission made one that succeeded."""
        deadline = time.perf_counter() + WORK_WITHIN_S
        while self._ask("SELECT count(*) FROM runs WHERE state IN ('queued', 'running')")[0]:
            if time.perf_counter() > deadline:
                raise TimeoutError("ours: runs stay open")
            time.sleep(0.1)
        if submitted and self._count() - self._before != submitted:
            raise NotVerified(f"{submitted} submissions, {self._count() - self._before} runs succeeded")

    def _count(self) -> int:
        return int(self._ask("SELECT count(*) FROM runs WHERE state = 'succeeded'")[0])

    def _batch(self, type_name: str, runs: int) -> float:
        items = [{"type": type_name, "spec": {}} for _ in range(runs)]
        began = time.perf_counter()
        answer = self._client.post("/intents:batch", {"items": items})
        ids = [item["run"]["id"] for item in answer["items"]]
        self._wait(ids, pause_s=0.005)
        took = time.perf_counter() - began
        self._verify(type_name, ids)
        return took

    def _call(self, type_name: str) -> str:
        """Submit in this process, as the API does in its own; raises RuntimeError without services."""
        if self._deps is None:
            raise RuntimeError("no services to call")
        return str(submit_intents(self._deps, self.actor, [Submission(type_name, {})])[0].run_id)

    def _submit(self, type_name: str, spec: dict[str, Any] | None = None) -> str:
        run_id: str = self._client.post("/intents", {"type": type_name, "spec": spec or {}})["run"]["id"]
        return run_id

    def _wait(self, ids: Sequence[str], pause_s: float) -> None:
        deadline = time.perf_counter() + WORK_WITHIN_S
        for done, run_id in enumerate(ids):
            while self._ask("SELECT state FROM runs WHERE id = %s", run_id)[0] not in ENDED:
                if time.perf_counter() > deadline:
                    raise TimeoutError(f"ours: only {done} of {len(ids)} runs ended")
                time.sleep(pause_s)

    def _verify(self, type_name: str, ids: Sequence[str]) -> None:
        """Count rows, events, audit records of the work; raises `NotVerified` when one is missing."""
        runs = len(ids)
        wanted = {
            "runs succeeded": runs,
            "steps succeeded": runs * STEPS[type_name],
            "attempts": runs * STEPS[type_name],
            "run.started": runs,
            "run.succeeded": runs,
            "intent.created": runs,
            "audit records": runs,
        }
        found = dict(zip(wanted, self._ask(_COUNTS, {"ids": list(ids)}), strict=True))
        if found != wanted:
            raise NotVerified(f"{type_name}: expected {wanted}, found {found}")

    def _ask(self, sql: str, *values: Any) -> tuple[Any, ...]:
        with closing(self._database.cursor()) as cursor:
            cursor.execute(sql, values[0] if values and isinstance(values[0], dict) else values)
            return cursor.fetchone() or ()


_COUNTS = """
WITH wanted AS (SELECT id, intent_id FROM runs WHERE id = ANY(%(ids)s::uuid[]))
SELECT
  (SELECT count(*) FROM wanted JOIN runs USING (id) WHERE state = 'succeeded'),
  (SELECT count(*) FROM wanted JOIN run_steps s ON s.run_id = wanted.id WHERE s.state = 'succeeded'),
  (SELECT count(*) FROM wanted JOIN step_attempts a ON a.run_id = wanted.id),
  (SELECT count(*) FROM wanted JOIN events e ON e.subject = 'runs/' || wanted.id
   WHERE e.type = 'io.quantum.run.started'),
  (SELECT count(*) FROM wanted JOIN events e ON e.subject = 'runs/' || wanted.id
   WHERE e.type = 'io.quantum.run.succeeded'),
  (SELECT count(*) FROM wanted JOIN events e ON e.subject = 'intents/' || wanted.intent_id
   WHERE e.type = 'io.quantum.intent.created'),
  (SELECT count(*) FROM wanted JOIN audit_records a ON a.subject = 'intents/' || wanted.intent_id
   WHERE a.action = 'intent.create')
"""
