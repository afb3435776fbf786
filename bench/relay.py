"""The relay beside the bare ceiling of each sink, printed: `python -m bench.relay`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from app.bootstrap.stores import build_platform
from app.db.engine import Database
from app.db.ids import new_id
from app.db.relay import PostgresOutbox
from app.domain.events import SHARDS
from app.domain.relay import Shard, body_of
from app.services.relay import Relay, RelayRules
from bench.figures import CEILING, OURS, Measure, figures, load_now, merge_latest, ratios, table
from bench.sinks import Ready, Target, hub_target, rabbitmq_target, redis_target
from bench.stage import Stage, raised

LATEST = Path(__file__).resolve().parent / "out" / "latest.json"
SINKS = ("redis", "rabbitmq", "eventhubs")
TENANTS = 4
OF_A_SUBJECT = 3
"""As a run has: begun, one step that told something, ended."""
TARGET = 0.5
WARM_UP = 500
RULES = RelayRules(lease_s=600.0)
BATCH = RULES.batch * 4
"""What the relay takes at once when it is behind: so much goes at once on the bare side as well."""
_EMIT = """
  SELECT emit_event(%(tenant)s, 'jobs/' || %(round)s || '-' || n / %(of)s, n %% %(of)s + 1, 'run.succeeded',
    jsonb_build_object('run_id', gen_random_uuid(), 'intent_id', gen_random_uuid(), 'code', NULL,
                       'workflow', 'data.inventory', 'steps', 5, 'compensated', false), '{}')
  FROM generate_series(0, %(count)s - 1) n
"""
_BACK = "UPDATE relay_cursors SET position = %s WHERE sink = %s"


class Bench:
    """The outbox with a relay over one sink."""

    def __init__(self, stage: Stage, tenants: Sequence[UUID], name: str, target: Target) -> None:
        self._app, self._system = Database(stage.settings.database_url), build_platform(stage.settings)
        self._outbox = PostgresOutbox(self._system)
        self._tenants, self._name, self._target = tenants, name, target
        self._relay = Relay(
            self._outbox, target.sink, "bench", RULES, time.monotonic, lambda: datetime.now(UTC)
        )
        self._round = 0

    def emit(self, count: int) -> int:
        """Commit so many new events; return the highest position before them."""
        self._round += 1
        for tenant in self._tenants:
            with self._app.tenant(tenant) as connection:
                values = {"round": f"{self._name}{self._round}", "of": OF_A_SUBJECT}
                connection.exec_driver_sql(
                    _EMIT, {**values, "tenant": tenant, "count": count // len(self._tenants)}
                )
        self._system.call("ANALYZE events")
        return int(self._system.call("SELECT coalesce(max(position), 0) FROM events")[0][0])

    def drain(self) -> None:
        """Deliver what is there already: what other sinks were measured with, the sign-ins of the stage."""
        while self._relay.turn() != (0, False):
            pass

    def relayed(self, count: int) -> float:
        """Deliver so many events; return the seconds that took. Raises RuntimeError when some are missing."""
        before = self._target.held()
        began, left = time.perf_counter(), count
        while left > 0:
            moved, refused = self._relay.turn()
            if refused or not moved:
                raise RuntimeError(f"{self._name}: {left} events were not taken")
            left -= moved
        took = time.perf_counter() - began
        self._verify(before, count)
        return took

    def back(self, position: int) -> None:
        """Let the sink be behind again: what follows the position is numbered already."""
        self._system.call(_BACK, (position, self._name))

    def ready(self, position: int) -> list[Ready]:
        """Return the events behind the position with their bodies, in order."""
        shards = [Shard(number, position, "") for number in range(SHARDS)]
        return [
            Ready(str(one.event.id), one.event.tenant_id, one.event.subject, one.event.type, body_of(one))
            for one in self._outbox.read(self._name, shards, 1_000_000)
        ]

    def bare(self, events: Sequence[Ready]) -> float:
        """Send the bodies straight to the server; return the seconds that took."""
        before = self._target.held()
        began = time.perf_counter()
        self._target.bare(events, BATCH)
        took = time.perf_counter() - began
        self._verify(before, len(events))
        return took

    def _verify(self, before: int, count: int) -> None:
        found = self._target.held() - before
        if found != count:
            raise RuntimeError(f"{self._name}: {count} events were sent, {found} are there")


def main() -> int:
    """Measure; return 1 when something is not there, or a ratio below the target."""
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=12_000, help="in each round")
    parser.add_argument("--only", default=",".join(SINKS), help=f"some of {','.join(SINKS)}")
    arguments = parser.parse_args()
    measures: list[Measure] = []
    refused: list[str] = []
    tenants = [new_id() for _ in range(TENANTS)]
    with raised(frozenset({"api"})) as stage:
        for name in arguments.only.split(","):
            with _target(name, stage, tenants) as target:
                if target is None:
                    print(f"{name}: no server is installed here, left out")
                    continue
                bench = Bench(stage, tenants, name, target)
                try:
                    measures += _rounds(bench, name, arguments.rounds, arguments.events)
                except RuntimeError as missing:
                    refused.append(str(missing))
    found = figures(measures)
    merge_latest(found, LATEST)
    print(table(found))
    low = {key[0][0]: ratio for key, ratio in ratios(found).items() if ratio < TARGET}
    for reason in (*refused, *(f"{work}: {ratio:.2f} is below {TARGET}" for work, ratio in low.items())):
        print(reason, file=sys.stderr)
    return 1 if refused or low else 0


def _rounds(bench: Bench, name: str, rounds: int, events: int) -> Iterator[Measure]:
    """Measure by turns; neither side always goes first."""
    bench.emit(WARM_UP * TENANTS)
    bench.drain()
    for number in range(rounds):
        load = load_now()
        count = events // TENANTS * TENANTS
        position = bench.emit(count)
        taken = {"new": bench.relayed(count)}
        ready = bench.ready(position)
        bench.back(position)
        sides = ("behind", "bare") if number % 2 == 0 else ("bare", "behind")
        for side in sides:
            taken[side] = bench.bare(ready) if side == "bare" else bench.relayed(count)
        work = f"relay {name}"
        for what, system in (("new", OURS), ("behind", OURS)):
            yield Measure(work, system, count / taken[what], "events/s", "higher", load, what)
            yield Measure(work, CEILING, count / taken["bare"], "events/s", "higher", load, what)
        print(f"{work}: round {number + 1} of {rounds} done, load {load_now()}", flush=True)


@contextmanager
def _target(name: str, stage: Stage, tenants: Sequence[UUID]) -> Iterator[Target | None]:
    with ExitStack() as stack:
        if name == "redis":
            yield stack.enter_context(redis_target(stage.settings.redis_url, tenants))
        elif name == "rabbitmq":
            yield stack.enter_context(rabbitmq_target())
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yield stack.enter_context(hub_target(folder))


if __name__ == "__main__":
    sys.exit(main())
