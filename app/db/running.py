"""The steps that run now, over all tenants."""

from __future__ import annotations

from typing import Any, Final

from app.db.engine import Database

# The index on leases holds what runs and nothing else: as many rows as there are busy processes.
_LONGEST: Final = """
  SELECT t.slug, s.run_id, s.key, s.operation, s.tries, w.hostname,
         extract(epoch FROM clock_timestamp() - s.started_at)::float
  FROM run_steps s JOIN tenants t ON t.id = s.tenant_id LEFT JOIN workers w ON w.boot = s.lease_boot
  WHERE s.state || '' = 'running' ORDER BY s.started_at LIMIT %s
"""
_COLUMNS: Final = ("tenant", "run_id", "key", "operation", "tries", "worker", "seconds")


def longest(system: Database, limit: int) -> list[dict[str, Any]]:
    """Return the steps that have run longest, with the seconds since their claim; raises Unavailable."""
    return [dict(zip(_COLUMNS, row, strict=True)) for row in system.call(_LONGEST, (limit,))]
