"""The independent checker: reads the rows, the ledger, the streams at the end, believes nothing else."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from app.messaging.streams import stream_of
from tests.chaos.finding import Finding
from tests.chaos.limits import compensations, exceeded, left_over
from tests.chaos.load import Accepted
from tests.chaos.scene import Scene
from tests.chaos.shapes import BY_TYPE
from tests.support.ledger import Entry, Ledger, as_row, check

ENDED = ("succeeded", "failed", "cancelled")
DEATHS = 3
PAGE = 5000
KINDS = {
    "is lost": "lost",
    "never ended": "lost",
    "began before": "early",
    "was invoked": "duplicated",
    "attempts, only": "duplicated",
    "ran under": "duplicated",
    "has no row": "duplicated",
}


class LedgerIndex(Ledger):
    """The whole ledger, read once, by run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._by_run: dict[str, list[Entry]] = defaultdict(list)
        for entry in super().entries():
            self._by_run[entry.run].append(entry)

    def entries(self, run: str | None = None) -> list[Entry]:
        """Return the lines of one run."""
        assert run is not None
        return self._by_run.get(run, [])


def examine(scene: Scene, accepted: Sequence[Accepted]) -> list[Finding]:
    """Return everything that is wrong after the last run has ended."""
    runs = {row["id"]: row for row in scene.rows("SELECT * FROM runs")}
    return [
        *_ends(scene, runs, accepted),
        *_steps(scene, runs),
        *_families(scene),
        *_leaks(scene),
        *left_over(scene),
        *exceeded(scene),
        *compensations(scene),
        *_unexplained_deaths(scene),
        *_outbox(scene),
        *(finding for tenant in {one.tenant for one in accepted} for finding in _stream(scene, tenant)),
        *_audit(scene, accepted),
    ]


def _ends(scene: Scene, runs: Mapping[UUID, Any], accepted: Sequence[Accepted]) -> Iterator[Finding]:
    """Every accepted intent has one run, which ended as its workflow must; nothing else was made."""
    poisoned = poisoned_runs(scene)
    for one in accepted:
        run = runs.get(one.run)
        if run is None:
            yield Finding(
                "lost", f"the run of intent {one.intent} was answered for but is not there", one.run
            )
        elif run["state"] not in ENDED:
            text = f"run {one.run} ({one.type}) is {run['state']}: {_open_steps(scene, one.run)}"
            yield Finding("lost", text, one.run)
        elif run["state"] != BY_TYPE[one.type].ends and one.run not in poisoned:
            yield Finding("lost", f"run {one.run} ({one.type}) ended {run['state']}: {run['error']}", one.run)
    told = Counter(one.run for one in accepted)
    for run_id in runs.keys() - told.keys():
        if runs[run_id]["parent_run_id"] is not None:
            continue  # nobody submitted it: it is a step of another run
        yield Finding("duplicated", f"run {run_id} was made but never answered for", run_id)
    for run_id in (run_id for run_id, times in told.items() if times > 1):
        yield Finding("duplicated", f"run {run_id} was answered for two submissions", run_id)


def _open_steps(scene: Scene, run: UUID) -> str:
    """Return what one wants to see of the steps that did not end."""
    shown = "key, state::text, tries, sent_at::text, ready_at::text, dispatch_epoch, broker_epoch, worker"
    rows = scene.rows(
        f"SELECT {shown} FROM run_steps WHERE run_id = %s AND finished_at IS NULL ORDER BY seq", run
    )
    return "; ".join(str(dict(row)) for row in rows)


def poisoned_runs(scene: Scene) -> set[UUID]:
    """Return the runs with a step that died three times: chance hit it thrice, and so it had to be parked.

    The runs above such a run failed with it.
    """
    found = scene.rows(
        "WITH RECURSIVE poisoned (run_id) AS (SELECT DISTINCT run_id FROM ("
        " SELECT run_id FROM step_attempts WHERE state::text = 'killed' GROUP BY run_id, key, round"
        " HAVING count(*) >= %s) thrice"
        " UNION SELECT r.parent_run_id FROM poisoned p JOIN runs r ON r.id = p.run_id"
        " WHERE r.parent_run_id IS NOT NULL) SELECT run_id FROM poisoned",
        DEATHS,
    )
    return {row["run_id"] for row in found}


def _steps(scene: Scene, runs: Mapping[UUID, Any]) -> Iterator[Finding]:
    """No step lost, none recorded or invoked twice, no join before its needs."""
    ledger = LedgerIndex(scene.fleet.rig.ledger.path)
    attempts: dict[tuple[UUID, str], dict[str, int]] = defaultdict(dict)
    for row in scene.rows(
        "SELECT run_id, key, state::text, count(*) AS n FROM step_attempts GROUP BY run_id, key, state"
    ):
        attempts[row["run_id"], row["key"]][row["state"]] = row["n"]
    needs: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in scene.rows("SELECT plan_hash, base, needs FROM plan_steps"):
        needs[row["plan_hash"]][row["base"]] = row["needs"]
    by_run: dict[UUID, list[Any]] = defaultdict(list)
    for row in scene.rows(
        "SELECT run_id, key, base, state::text, round, tries,"
        " extract(epoch FROM finished_at)::float AS finished_at FROM run_steps"
    ):
        run_id = row.pop("run_id")
        by_run[run_id].append(as_row({**row, "attempts": attempts.get((run_id, row["key"]), {})}))
    for (run_id, key), states in attempts.items():
        ended = states.get("succeeded", 0) + states.get("skipped", 0) + states.get("failed", 0)
        if ended > 1:
            yield Finding("duplicated", f"{run_id}:{key} has {ended} final attempts", run_id)
    for run_id, run in runs.items():
        if run["state"] not in ENDED:
            continue
        try:
            check(ledger, str(run_id), by_run[run_id], needs[run["plan_hash"]], kills=10**6)
        except AssertionError as fault:
            for line in str(fault).splitlines():
                kind = next((kind for words, kind in KINDS.items() if words in line), "lost")
                yield Finding(kind, f"{run_id}: {line}", run_id)


def _families(scene: Scene) -> Iterator[Finding]:
    """Every step that ended as a run has the one run of its round, which ended as the step did."""
    for row in scene.rows(
        "SELECT s.run_id, s.key, s.state::text, array_agg(c.state::text) FILTER (WHERE c.id IS NOT NULL)"
        " AS children FROM run_steps s LEFT JOIN runs c ON c.tenant_id = s.tenant_id"
        " AND c.parent_run_id = s.run_id AND c.parent_step = s.key AND c.parent_try = s.tries"
        " WHERE s.operation = 'workflow' AND NOT s.is_fan AND s.state::text IN ('succeeded', 'failed')"
        " GROUP BY s.tenant_id, s.run_id, s.key, s.state"
    ):
        if row["children"] != [row["state"]]:
            step = f"{row['run_id']}:{row['key']}"
            yield Finding("lost", f"{step} is {row['state']}, its runs are {row['children']}", row["run_id"])


def _leaks(scene: Scene) -> Iterator[Finding]:
    """No lease, no wait, no open count outlives its run."""
    for row in scene.rows(
        "SELECT r.id, r.state::text, r.open_steps, count(*) AS n FROM runs r"
        " JOIN run_steps s ON s.tenant_id = r.tenant_id AND s.run_id = r.id"
        " AND s.state::text IN ('pending', 'ready', 'running', 'waiting')"
        " WHERE r.state::text = ANY (%s) GROUP BY r.tenant_id, r.id",
        list(ENDED),
    ):
        yield Finding("leaked", f"run {row['id']} is {row['state']} with {row['n']} open steps", row["id"])
    for row in scene.rows(
        "SELECT id, open_steps FROM runs WHERE state::text = ANY (%s) AND open_steps <> 0", list(ENDED)
    ):
        yield Finding("leaked", f"run {row['id']} ended and counts {row['open_steps']} open steps", row["id"])


def _unexplained_deaths(scene: Scene) -> Iterator[Finding]:
    """An attempt was given up only because its process had died: none ran again while it still lived."""
    for row in scene.rows(
        "SELECT a.run_id, a.key, a.pid, a.error, w.pid AS parent FROM step_attempts a"
        " LEFT JOIN workers w ON w.boot = a.boot WHERE a.state::text = 'killed'"
    ):
        if row["pid"] not in scene.killed_children and row["parent"] not in scene.fleet.ended:
            step = f"{row['run_id']}:{row['key']}"
            text = f"{step} was taken from process {row['pid']}, which lived: {row['error']}"
            yield Finding("duplicated", text, row["run_id"])


def _outbox(scene: Scene) -> Iterator[Finding]:
    """Events are placed in the order of their subject; those of runs, intents are numbered without a gap."""
    for row in scene.rows(
        "SELECT subject, count(*) AS n, bool_and(position IS NOT NULL) AS placed,"
        " CASE WHEN subject ~ '^(runs|intents)/' THEN max(seq) ELSE count(*) END AS last,"
        " array_agg(position ORDER BY seq) = array_agg(position ORDER BY position) AS ordered"
        " FROM events GROUP BY tenant_id, subject"
    ):
        if row["n"] != row["last"] or not row["placed"] or not row["ordered"]:
            yield Finding("events", f"the outbox of {row['subject']} is not whole: {row}")
    for row in scene.rows(
        "SELECT r.id, r.event_seq, count(e.seq) AS n FROM runs r LEFT JOIN events e"
        " ON e.tenant_id = r.tenant_id AND e.subject = 'runs/' || r.id"
        " GROUP BY r.tenant_id, r.id, r.event_seq HAVING count(e.seq) <> r.event_seq"
    ):
        yield Finding(
            "events", f"run {row['id']} told {row['event_seq']} events, {row['n']} are there", row["id"]
        )


def _stream(scene: Scene, tenant: UUID) -> Iterator[Finding]:
    """What arrived in the tenant's stream is the outbox: every event, in order per subject."""
    arrived: dict[str, dict[int, None]] = defaultdict(dict)
    client, after = scene.redis(), "-"
    while True:
        entries: Any = client.xrange(stream_of(tenant), min=after, count=PAGE)
        if not entries:
            break
        for _, fields in entries:
            event = json.loads(fields[b"event"])
            arrived[event["subject"]].setdefault(int(event["sequence"]))
        after = "(" + entries[-1][0].decode()
    for row in scene.rows(
        "SELECT subject, array_agg(seq ORDER BY seq) AS told FROM events WHERE tenant_id = %s GROUP BY 1",
        tenant,
    ):
        found = list(arrived.get(row["subject"], {}))
        if found != row["told"]:
            yield Finding("events", f"the stream of {row['subject']} holds {found}, not {row['told']}")


def _audit(scene: Scene, accepted: Sequence[Accepted]) -> Iterator[Finding]:
    """Each accepted intent has its one audit record."""
    records = Counter(
        row["subject"]
        for row in scene.rows("SELECT subject FROM audit_records WHERE action = 'intent.create'")
    )
    for one in accepted:
        times = records.pop(f"intents/{one.intent}", 0)
        if times != 1:
            yield Finding("audit", f"intent {one.intent} has {times} audit records", one.run)
    for subject in records:
        yield Finding("audit", f"{subject} has a record, but nobody was answered for it")
