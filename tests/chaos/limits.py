"""What of limits, timers, compensations must hold at the end of a chaos run: read from rows alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from uuid import UUID

from tests.chaos.finding import Finding


class Rows(Protocol):
    """Whoever reads rows past every policy."""

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of one statement."""


LEFT = {
    "a timer of the run": "SELECT id AS run, due_at FROM runs WHERE due_at IS NOT NULL"
    " AND finished_at IS NOT NULL",
    "a place of the tenant": "SELECT NULL::uuid AS run, t.slug, p.taken FROM tenants t"
    " CROSS JOIN LATERAL places_taken(t.id, 1000000) AS p (taken) WHERE p.taken > 0",
    "a place of a step": "SELECT NULL::uuid AS run, t.slug, p.taken FROM tenants t"
    " CROSS JOIN LATERAL steps_taken(t.id, 1000000) AS p (taken) WHERE p.taken > 0",
    "a place under a key": "SELECT NULL::uuid AS run, k.key, key_taken(k.tenant_id, k.key) AS taken,"
    " key_awaited(k.tenant_id, k.key) AS awaited FROM concurrency_keys k"
    " WHERE key_taken(k.tenant_id, k.key) > 0 OR key_awaited(k.tenant_id, k.key)",
}
"""What must be gone when every run has ended."""
KEYED = """
  SELECT tenant_id, concurrency_key AS name, key_limit AS most, id, started_at AS since, finished_at AS until
  FROM runs WHERE concurrency_key IS NOT NULL AND parent_run_id IS NULL AND started_at IS NOT NULL
"""
PLACED = """
  SELECT r.tenant_id, 'running runs' AS name, l.max_running_runs AS most, r.id, r.admitted_at AS since,
         r.finished_at AS until
  FROM runs r JOIN tenant_limits l ON l.tenant_id = r.tenant_id
  WHERE l.max_running_runs IS NOT NULL AND r.parent_run_id IS NULL AND r.admitted_at IS NOT NULL
"""
RUNNING = """
  SELECT a.tenant_id, 'running steps' AS name, l.max_running_steps AS most, a.run_id AS id,
         a.started_at AS since, a.finished_at AS until
  FROM step_attempts a JOIN tenant_limits l ON l.tenant_id = a.tenant_id
  JOIN run_steps s ON s.tenant_id = a.tenant_id AND s.run_id = a.run_id AND s.key = a.key
  WHERE l.max_running_steps IS NOT NULL AND a.boot IS NOT NULL AND NOT s.is_fan
    AND s.operation NOT IN ('wait', 'workflow')
"""
UNDONE = """
  SELECT u.run_id AS run, array_agg(u.undoes ORDER BY b.finished_at) AS undone,
         array_agg(u.undoes ORDER BY a.finished_at DESC) AS owed
  FROM run_steps u
  LEFT JOIN step_attempts a ON a.tenant_id = u.tenant_id AND a.run_id = u.run_id AND a.key = u.undoes
    AND a.state::text = 'succeeded'
  LEFT JOIN step_attempts b ON b.tenant_id = u.tenant_id AND b.run_id = u.run_id AND b.key = u.key
    AND b.state::text = 'succeeded'
  WHERE u.undoes IS NOT NULL GROUP BY u.tenant_id, u.run_id
"""
FORGOTTEN = """
  SELECT s.run_id AS run, s.key FROM run_steps s
  JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id AND r.compensation IS NOT NULL
  JOIN plan_steps p ON p.tenant_id = s.tenant_id AND p.plan_hash = r.plan_hash AND p.undoes = s.base
  WHERE s.state::text = 'succeeded'
"""


def left_over(scene: Rows) -> Iterator[Finding]:
    """Nothing that a run had while it was under way outlives it."""
    for what, statement in LEFT.items():
        for row in scene.rows(statement):
            yield Finding("leaked", f"{what} is left: {dict(row)}", row["run"])


def exceeded(scene: Rows) -> Iterator[Finding]:
    """No limit was ever exceeded: of the spans of its runs no more than it allows lie over each other."""
    for statement in (KEYED, PLACED, RUNNING):
        spans: dict[tuple[UUID, str, int], list[dict[str, Any]]] = defaultdict(list)
        for row in scene.rows(statement):
            spans[row["tenant_id"], row["name"], row["most"]].append(row)
        for (tenant, name, most), rows in spans.items():
            highest = most_at_once(rows)
            if highest > most:
                yield Finding("limits", f"{name} of tenant {tenant}: {highest} at once, at most {most}")


def most_at_once(spans: Iterable[dict[str, Any]]) -> int:
    """Return how many spans lie over each other where most do; one without an end is open still."""
    edges = [(span["since"], 1) for span in spans]
    edges += [(span["until"], -1) for span in spans if span["until"] is not None]
    present = highest = 0
    for _, step in sorted(edges):
        present += step
        highest = max(highest, present)
    return highest


def compensations(scene: Rows) -> Iterator[Finding]:
    """What a compensated run had completed was undone once each, the last first."""
    for row in scene.rows(UNDONE):
        if row["undone"] != row["owed"]:
            text = f"{row['run']} was undone as {row['undone']}, owed {row['owed']}"
            yield Finding("early", text, row["run"])
    for row in scene.rows(FORGOTTEN):
        yield Finding("lost", f"{row['run']}:{row['key']} was never undone", row["run"])
