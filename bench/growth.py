"""Growth: the same small works beside 10^4, 10^5, 10^6 finished runs, each read timed in the database."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from app.bootstrap.stores import build_platform
from app.db.engine import Database
from app.domain.identity import Actor
from app.domain.paging import PageRequest, encode_cursor
from app.services import browse, dead_letters
from app.services.ports import Engine
from bench.figures import OURS, Measure, load_now, percentile
from bench.history import EVERY_MS, History
from bench.ours import CHAIN, STEPS, Platform
from bench.stage import Stage
from bench.wire import Target, load

MARK = "beside "
STEPS_OF_HISTORY = (10_000, 100_000, 1_000_000)
READS = 200
CHAINS = 100
SUBMISSIONS = 300
HTTP_S = 3.0
ROUNDS = 5
SETTLED_WITHIN_S = 900.0
# A shard's cursor stands at its own last event, so some lie behind the highest position for ever.
_BACKLOG = """
  SELECT coalesce(max(position), 0) - coalesce((SELECT min(position) FROM relay_cursors), 0) FROM events
"""
BACKLOG_AT_MOST = 1_000
"""Events: what the works themselves leave on its way is no backlog."""
Read = Callable[[int], object]


def grown(stage: Stage, ours: Platform) -> Iterator[Measure]:
    """Write more and more history; yield the figures beside each amount of it."""
    database, system = Database(stage.settings.database_url), build_platform(stage.settings)
    span = timedelta(milliseconds=EVERY_MS * STEPS_OF_HISTORY[-1])
    start = datetime.now(UTC) - span - timedelta(hours=1)
    history = History(stage.settings.database_owner_url, ours.actor.tenant_id, ours.echo_plan(), start)
    written = 0
    for amount in STEPS_OF_HISTORY:
        history.write(written + 1, amount)
        written = amount
        label = f"{MARK}{amount:,} runs"
        print(f"{label} written, load {load_now()}", flush=True)
        _settle(system)
        print(f"{label} settled, load {load_now()}", flush=True)
        for _ in range(ROUNDS):
            yield from _works(ours, label)
        for name, read in _reads(database, ours.actor, ours.engine, history).items():
            yield Measure("W7", OURS, _p95_ms(read, amount), "ms", "lower", load_now(), f"{name}, {label}")
        yield from _requests(stage, history.run_id(amount // 2), label)
    database.dispose()
    system.dispose()


def _settle(system: Database) -> None:
    """Wait until every reader of events has passed them all; raises TimeoutError after `SETTLED_WITHIN_S`.

    Three million events written at once are a backlog that no history has: while the relay works it
    off, it takes the two cores from whatever is measured.
    """
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while system.call(_BACKLOG)[0][0] > BACKLOG_AT_MOST:
        if time.monotonic() > deadline:
            raise TimeoutError("the readers of events are behind their backlog")
        time.sleep(1.0)


def _works(ours: Platform, label: str) -> Iterator[Measure]:
    rate = SUBMISSIONS / ours.submissions(SUBMISSIONS)
    yield Measure("growth", OURS, rate, "/s", "higher", load_now(), f"W4 {label}")
    rate = CHAINS * STEPS[CHAIN] / ours.chains(CHAINS)
    yield Measure("growth", OURS, rate, "steps/s", "higher", load_now(), f"W1 {label}")


def _reads(database: Database, actor: Actor, engine: Engine, history: History) -> Mapping[str, Read]:
    """Each list of work with the read behind a run; the argument is the n of a run in the history."""

    def page(_: int) -> PageRequest:
        return PageRequest(50)

    def deep(n: int) -> PageRequest:
        return PageRequest(50, encode_cursor(history.run_id(n)))

    def at(n: int) -> UUID:
        return history.run_id(n)

    return {
        "run": lambda n: browse.show_run(database, engine.plans, engine.artifacts, actor, at(n)),
        "intent": lambda n: browse.show_intent(database, actor, at(n)),
        "step": lambda n: browse.show_step(database, actor, at(n), "echo"),
        "runs": lambda n: browse.list_runs(database, actor, page(n)),
        "runs, deep": lambda n: browse.list_runs(database, actor, deep(n)),
        "runs by state": lambda n: browse.list_runs(database, actor, page(n), state="failed"),
        "runs by type": lambda n: browse.list_runs(database, actor, deep(n), type="core.echo"),
        "runs by rare label": lambda n: browse.list_runs(database, actor, page(n), label="team=rare"),
        "runs by usual label": lambda n: browse.list_runs(database, actor, deep(n), label="team=usual"),
        "intents": lambda n: browse.list_intents(database, actor, deep(n)),
        "intents by phase": lambda n: browse.list_intents(database, actor, page(n), phase="failed"),
        "intents by usual label": lambda n: browse.list_intents(database, actor, deep(n), label="team=usual"),
        "generations": lambda n: browse.list_generations(database, actor, at(n), page(n)),
        "steps": lambda n: browse.list_steps(database, actor, at(n), page(n)),
        "events": lambda n: browse.read_events(database, actor, 3 * n, 100, None, None),
        "events of a run": lambda n: browse.read_events(database, actor, 0, 100, None, f"runs/{at(n)}"),
        "audit": lambda n: browse.list_audit(database, actor, deep(n)),
        "audit of an intent": lambda n: browse.list_audit(
            database, actor, page(n), subject=f"intents/{at(n)}"
        ),
        "dead letters": lambda n: dead_letters.list_dead_letters(database, actor, page(n)),
    }


def _p95_ms(read: Read, amount: int) -> float:
    chosen = random.Random(amount)
    taken = []
    for _ in range(READS):
        n = chosen.randint(100, amount)
        began = time.perf_counter()
        read(n)
        taken.append(time.perf_counter() - began)
    return percentile(taken, 0.95) * 1000


def _requests(stage: Stage, run_id: UUID, label: str) -> Iterator[Measure]:
    paths = {"run": f"/api/v1/runs/{run_id}", "runs": "/api/v1/runs?limit=50"}
    for name, path in paths.items():
        target = Target(stage.api_url, stage.token, "GET", path, b"", 200, lambda: str(uuid4()))
        seen = load(target, HTTP_S, 4)
        what = f"whole request, {name}, {label}"
        yield Measure("W7", OURS, seen.p95_ms, "ms", "lower", load_now(), what)
        yield Measure("W7", OURS, seen.per_second, "req/s", "higher", load_now(), what)
