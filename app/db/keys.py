"""Which key-encryption keys the rows hang on, across tenants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from app.db.engine import Database

_COUNTS: Final = "SELECT kek_id, count(*) FROM tenant_keys GROUP BY kek_id"
# One look into the index for each key, however many seals there are.
_SEALS: Final = """
  WITH RECURSIVE named (key_id) AS (
    SELECT min(key_id) FROM audit_seals
    UNION ALL
    SELECT (SELECT min(s.key_id) FROM audit_seals s WHERE s.key_id > n.key_id) FROM named n
    WHERE n.key_id IS NOT NULL)
  SELECT n.key_id, (SELECT max(s.created_at) FROM audit_seals s WHERE s.key_id = n.key_id)
  FROM named n WHERE n.key_id IS NOT NULL
"""
_UNDER: Final = """
  SELECT tenant_id FROM tenant_keys WHERE kek_id = ANY (%s) ORDER BY kek_id, tenant_id LIMIT %s
"""


def tenant_keys(system: Database) -> Mapping[str, int]:
    """Return how many tenants' keys each key-encryption key wraps; raises Unavailable."""
    return {row[0]: int(row[1]) for row in system.call(_COUNTS)}


def last_seals(system: Database) -> Mapping[str, datetime]:
    """Return when each key made its latest seal of the audit trail; raises Unavailable."""
    return {row[0]: row[1] for row in system.call(_SEALS)}


def tenants_under(system: Database, key_ids: Sequence[str], limit: int) -> list[UUID]:
    """Return up to `limit` tenants whose keys these keys wrap; raises Unavailable."""
    return [row[0] for row in system.call(_UNDER, (list(key_ids), limit))]
