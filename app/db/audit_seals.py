"""The seals of the audit trail: records waiting for one, the chain so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended('audit chain/' || CAST(:tenant AS text), 0))")
_WAITING = text("""
  SELECT t.id FROM tenants t
  WHERE EXISTS (SELECT 1 FROM audit_records a WHERE a.tenant_id = t.id AND a.seal IS NULL) ORDER BY t.id
""")
_STAMP = text("""
  UPDATE audit_records SET seal = :seq WHERE tenant_id = :tenant AND id = ANY (ARRAY(
    SELECT id FROM audit_records WHERE tenant_id = :tenant AND seal IS NULL ORDER BY id LIMIT :limit))
""")
_ADD = text("""
  INSERT INTO audit_seals (tenant_id, seq, records, digest, mac, key_id)
  VALUES (:tenant, :seq, :records, :digest, :mac, :key_id)
""")
_CHAIN = text("""
  SELECT seq, records, digest, mac, key_id FROM audit_seals
  WHERE tenant_id = :tenant AND seq BETWEEN :first AND :last ORDER BY seq
""")
_LAST = text("""
  SELECT seq, records, digest, mac, key_id FROM audit_seals
  WHERE tenant_id = :tenant ORDER BY seq DESC LIMIT 1
""")
_DIGESTS = text("SELECT seq, records, digest FROM audit_digests(:tenant, :first, :last)")
_HIGHEST = text("SELECT max(seal) FROM audit_records WHERE tenant_id = :tenant")
_UNSEALED = text("""
  SELECT count(*) FROM audit_records WHERE tenant_id = :tenant AND seal IS NULL
    AND created_at < clock_timestamp() - CAST(:older AS interval)
""")


@dataclass(frozen=True, slots=True)
class Seal:
    """One link of a tenant's chain."""

    seq: int
    records: int
    digest: bytes
    mac: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class Contents:
    """The records that carry a seal now."""

    records: int
    digest: bytes


def tenants_waiting(connection: Connection) -> list[UUID]:
    """Return the tenants with records that no seal vouches for."""
    return [row.id for row in connection.execute(_WAITING)]


def lock_chain(connection: Connection, tenant_id: UUID) -> bool:
    """Take the tenant's chain for this transaction; False when another sealer has it."""
    return bool(connection.execute(_LOCK, {"tenant": tenant_id}).scalar_one())


def stamp(connection: Connection, tenant_id: UUID, seq: int, limit: int) -> int:
    """Give at most `limit` waiting records the seal `seq`; return how many took it."""
    return connection.execute(_STAMP, {"tenant": tenant_id, "seq": seq, "limit": limit}).rowcount


def add(connection: Connection, tenant_id: UUID, seal: Seal) -> None:
    """Append a link to the chain."""
    values = {"seq": seal.seq, "records": seal.records, "digest": seal.digest, "mac": seal.mac}
    connection.execute(_ADD, {"tenant": tenant_id, "key_id": seal.key_id, **values})


def last(connection: Connection, tenant_id: UUID) -> Seal | None:
    """Return the end of the chain, None before the first seal."""
    row = connection.execute(_LAST, {"tenant": tenant_id}).first()
    return _seal(row) if row else None


def chain(connection: Connection, tenant_id: UUID, first: int, last: int) -> Mapping[int, Seal]:
    """Return the links from `first` to `last` by their number."""
    rows = connection.execute(_CHAIN, {"tenant": tenant_id, "first": first, "last": last})
    return {row.seq: _seal(row) for row in rows}


def contents(connection: Connection, tenant_id: UUID, first: int, last: int) -> Mapping[int, Contents]:
    """Return what the records with the seals `first` to `last` come to now."""
    rows = connection.execute(_DIGESTS, {"tenant": tenant_id, "first": first, "last": last})
    return {row.seq: Contents(row.records, bytes(row.digest)) for row in rows}


def highest_stamp(connection: Connection, tenant_id: UUID) -> int:
    """Return the highest seal that a record carries, 0 for none."""
    return int(connection.execute(_HIGHEST, {"tenant": tenant_id}).scalar_one() or 0)


def unsealed(connection: Connection, tenant_id: UUID, older_s: float) -> int:
    """Count the records older than `older_s` seconds that no seal vouches for."""
    values = {"tenant": tenant_id, "older": f"{older_s} seconds"}
    return int(connection.execute(_UNSEALED, values).scalar_one())


def _seal(row: Row[Any]) -> Seal:
    return Seal(row.seq, row.records, bytes(row.digest), bytes(row.mac), row.key_id)
