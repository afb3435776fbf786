"""Intake under measure: our API alone beside a ceiling on the same server, nobody executing for either."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2

from app.settings import inherited_environment
from bench.ceiling import TABLE, URL_VARIABLE
from bench.figures import CEILING, OURS, Measure, load_now
from bench.ours import NotVerified
from bench.serve import api_command, served
from bench.stage import Stage
from bench.wire import Seen, Target, load

BATCH = 500
CONNECTIONS = 16
BATCH_CONNECTIONS = 4
STEADY = 0.8
"""The share of its own saturation at which the waiting time of a request is told."""
ONE_STEP = {"type": "core.echo", "spec": {"message": "hello"}}

_ROWS = """
SELECT (SELECT count(*) FROM intents), (SELECT count(*) FROM intent_generations), (SELECT count(*) FROM runs),
       (SELECT count(*) FROM run_steps),
       (SELECT count(*) FROM events WHERE type = 'io.quantum.intent.created'),
       (SELECT count(*) FROM audit_records WHERE action = 'intent.create')
"""


@dataclass(frozen=True, slots=True)
class Intake:
    """Our API with the ceiling's address, both over one PostgreSQL."""

    stage: Stage
    ceiling_url: str

    def batches(self, seconds: float) -> Iterator[Measure]:
        """W5: intents a second that batches of 500 bring; raises NotVerified when a row is missing."""
        began, before = load_now(), self._rows()
        body = json.dumps({"items": [ONE_STEP] * BATCH}).encode()
        seen = load(self._ours("/api/v1/intents:batch", body, 200), seconds, BATCH_CONNECTIONS)
        self._verify(before, seen.answered * BATCH)
        yield Measure("W5", OURS, seen.per_second * BATCH, "intents/s", "higher", began)
        yield Measure("W5", OURS, seen.p95_ms, "ms", "lower", began, "p95 of a batch of 500")

    def singles(self, seconds: float) -> Iterator[Measure]:
        """W6: requests a second beside the ceiling; how long one takes at 80 % of saturation."""
        body = json.dumps(ONE_STEP).encode()
        ceiling = Target(self.ceiling_url, "", "POST", "/insert", body, 202, str)
        yield from _saturated(CEILING, ceiling, seconds)
        before = self._rows()
        answered = itertools.count()
        yield from _saturated(OURS, self._ours("/api/v1/intents", body, 202, answered), seconds)
        self._verify(before, next(answered))

    def _ours(self, path: str, body: bytes, status: int, sent: Iterator[int] | None = None) -> Target:
        def fresh() -> str:
            if sent is not None:
                next(sent)
            return str(uuid.uuid4())

        return Target(self.stage.api_url, self.stage.token, "POST", path, body, status, fresh)

    def _rows(self) -> tuple[int, ...]:
        with (
            closing(psycopg2.connect(self.stage.settings.database_url)) as session,
            session.cursor() as cursor,
        ):
            tenant = self.stage.client.get("/me")["tenant_id"]
            cursor.execute("SELECT set_config('app.tenant_id', %s, false)", (tenant,))
            cursor.execute(_ROWS)
            counted: tuple[int, ...] = cursor.fetchone() or ()
            return counted

    def _verify(self, before: tuple[int, ...], accepted: int) -> None:
        made = [now - then for then, now in zip(before, self._rows(), strict=True)]
        if set(made) != {accepted}:
            raise NotVerified(f"{accepted} intents were accepted, the rows say {made}")


def _saturated(system: str, target: Target, seconds: float) -> Iterator[Measure]:
    began = load_now()
    full: Seen = load(target, seconds, CONNECTIONS)
    steady = load(target, seconds, CONNECTIONS, full.per_second * STEADY)
    yield Measure("W6", system, full.per_second, "req/s", "higher", began)
    yield Measure("W6", system, steady.p95_ms, "ms", "lower", began, "p95 at 80 %")


@contextmanager
def intake(stage: Stage) -> Iterator[Intake]:
    """Serve the ceiling beside the API of `stage`."""
    settings = stage.settings
    with (
        closing(psycopg2.connect(settings.database_owner_url)) as session,
        session,
        session.cursor() as cursor,
    ):
        cursor.execute(f"{TABLE}; GRANT SELECT, INSERT ON bench_ceiling TO quantum_app")
    environ = {**inherited_environment(), URL_VARIABLE: settings.database_url}
    with served("bench.ceiling:app", api_command(), environ, stage.log) as url:
        yield Intake(stage, url)
