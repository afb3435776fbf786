"""Events written while relay, Redis, the AMQP peer, PostgreSQL are killed at random: what became of them."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2

from tests.support.outbox import A, B, OutboxRig
from tests.support.waiting import eventually

SUBJECTS = 40
BATCH = 50
Envelope = dict[str, Any]
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Victim:
    """Something to kill with -9, then to start again over what it kept."""

    name: str
    kill: Callable[[], None]
    start: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sink has in the end."""

    missing: int
    repeated: int
    out_of_order: int
    strange: int
    """Events that came under two ids, or were never written."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill: of whom, how many events were written by then, how many deliveries were still to be made."""

    victim: str
    written: int
    behind: int


class Writer(threading.Thread):
    """Writes each event until it is known to be committed, as far as allowed; the database may be away."""

    def __init__(self, rig: OutboxRig, events: int) -> None:
        super().__init__(daemon=True)
        self._rig = rig
        self._events = events
        self._upto = 0
        self._allowed = threading.Condition()
        self._pause = threading.Event()
        self.done = 0
        """How many events are written."""

    def allow(self, upto: int) -> None:
        """Let it write the events before this one."""
        with self._allowed:
            self._upto = upto
            self._allowed.notify()

    def run(self) -> None:
        for first in range(0, self._events, BATCH):
            with self._allowed:
                self._allowed.wait_for(lambda first=first: first < self._upto)
            while not self._written(first):
                self._pause.wait(0.1)
            self.done = first + BATCH

    def _written(self, first: int) -> bool:
        """Write one batch of one tenant; one whose answer was lost is found there."""
        tenant = (A, B)[first // BATCH % 2]
        try:
            with self._rig.writing(tenant) as cursor:
                cursor.execute(
                    "SELECT emit_event(%s, 'runs/' || n %% %s, n / %s + 1, 'run.started', '{}', '{}')"
                    " FROM generate_series(%s, %s) n",
                    (str(tenant), SUBJECTS, SUBJECTS, first, min(first + BATCH, self._events) - 1),
                )
        except psycopg2.errors.UniqueViolation:
            return True
        except psycopg2.Error:
            return False
        return True


def play(
    rig: OutboxRig, victims: Sequence[Victim], events: int, kills: int, seed: int, most_behind: int
) -> list[Strike]:
    """Write the events; meanwhile kill one after another, each when its share is written; return the kills.

    So the kills come all along, however quick the writer is: it gets the next share with the kill, and writes
    while the victim is away. Before each at most `most_behind` deliveries are left: the kills come all along
    the way of the relays, too.
    """
    chance = random.Random(seed)
    writer = Writer(rig, events)
    writer.start()
    pause = threading.Event()
    share = events // (kills + 1)
    order = [victims[place % len(victims)] for place in range(kills)]
    chance.shuffle(order)
    strikes: list[Strike] = []
    for place, victim in enumerate(order, 1):
        writer.allow(place * share)
        eventually(lambda due=place * share: writer.done >= due, within=60, what="a share is written")
        eventually(lambda: behind(rig) <= most_behind, within=120, every=0.1, what="the relays follow")
        writer.allow(place * share + share // 2)
        pause.wait(chance.uniform(0.0, 0.3))
        strikes.append(Strike(victim.name, writer.done, behind(rig)))
        victim.kill()
        pause.wait(chance.uniform(0.0, 0.4))
        victim.start()
    writer.allow(events)
    eventually(lambda: not writer.is_alive(), within=600, what="all is written")
    return strikes


def behind(rig: OutboxRig) -> int:
    """Return how many deliveries are still to be made, to all sinks together; many while nobody knows."""
    try:
        ((left,),) = rig.system(
            "SELECT (SELECT count(*) FROM relay_cursors c JOIN events e ON e.shard = c.shard"
            "        AND e.position > c.position) + (SELECT count(*) FROM events WHERE position IS NULL)"
        )
    except psycopg2.Error:
        return 1_000_000_000
    return int(left)


def written(rig: OutboxRig) -> dict[Key, str]:
    """Return the id of each event in the outbox."""
    rows = rig.system("SELECT tenant_id, subject, seq, id FROM events")
    return {(str(tenant), subject, seq): str(id_) for tenant, subject, seq, id_ in rows}


def passed(rig: OutboxRig) -> bool:
    """Whether every sink's cursors stand behind the last event: a quick look before the long one."""
    ((behind,),) = rig.system(
        "SELECT count(*) FROM events e WHERE position IS NULL OR EXISTS ("
        " SELECT FROM relay_cursors c WHERE c.shard = e.shard AND c.position < e.position)"
    )
    return bool(behind == 0)


def table(sent: int, strikes: Sequence[Strike], verdicts: dict[str, Verdict]) -> str:
    """Return when the kills came, then what became of the events, a line for each sink."""
    spread = ", ".join(f"{round(100 * one.written / sent)} %" for one in (strikes[0], strikes[-1]))
    owed = sorted(one.behind for one in strikes)
    killed = dict(Counter(one.victim for one in strikes))
    middle = owed[len(owed) // 2]
    lines = [
        f"killed: {killed}, the first and the last when {spread} were written",
        f"deliveries owed at a kill: {owed[0]} at least, {middle} at the median, {owed[-1]} at most",
        f"{'sink':<10} {'sent':>8} {'missing':>8} {'out of order':>13} {'repeated':>9} {'other id':>9}",
    ]
    for name, one in verdicts.items():
        lines.append(
            f"{name:<10} {sent:>8} {one.missing:>8} {one.out_of_order:>13} {one.repeated:>9} {one.strange:>9}"
        )
    return "\n".join(lines)


def judge(wanted: dict[Key, str], arrived: Sequence[Envelope]) -> Verdict:
    """Compare what arrived with what was written; an order is that of first arrivals."""
    seen: dict[Key, set[str]] = defaultdict(set)
    last: dict[tuple[str, str], int] = defaultdict(int)
    out_of_order = 0
    for one in arrived:
        key = (one["tenantid"], one["subject"], int(one["sequence"]))
        if key not in seen:
            out_of_order += key[2] < last[key[:2]]
            last[key[:2]] = max(last[key[:2]], key[2])
        seen[key].add(one["id"])
    strange = sum(ids != {wanted.get(key, "")} for key, ids in seen.items())
    return Verdict(len(wanted.keys() - seen.keys()), len(arrived) - len(seen), out_of_order, strange)
