"""The proof that a tenant's audit trail is as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.db import audit_seals
from app.db.engine import Database
from app.domain.errors import InvalidInput
from app.domain.identity import Actor
from app.security.audit_chain import BEGINNING, AuditKey
from app.security.key_ring import KeyMissing

LATE_S: Final = 300.0
"""A record that no seal vouches for after so many seconds is reported."""


@dataclass(frozen=True, slots=True)
class SealFault:
    """What is wrong with one seal."""

    seq: int
    code: str
    message: str
    key_id: str | None = None
    """The key that is missing, when that is what keeps the seal from being checked."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What looking at a stretch of the chain showed; `next` is where to go on, None at its end.

    `head_seq` and `head_mac` are the last seal looked at: kept elsewhere, they show later whether the end
    was cut off.
    """

    faults: tuple[SealFault, ...]
    seals: int
    records: int
    unsealed: int
    head_seq: int
    head_mac: str
    next: int | None

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


def verify_audit(database: Database, key: AuditKey, actor: Actor, first: int, limit: int) -> Verification:
    """Compute the seals from `first` on anew, at most `limit` of them, and compare.

    Records that were changed, removed, or put under a seal afterwards show, as do seals changed or removed.
    A cut at the very end shows against a `head_mac` that was kept elsewhere. Raises InvalidInput when
    `first` lies beyond the chain.
    """
    tenant_id = actor.tenant_id
    with database.tenant(tenant_id) as connection:
        final = audit_seals.last(connection, tenant_id)
        end = max(final.seq if final else 0, audit_seals.highest_stamp(connection, tenant_id))
        if first > max(end, 1):
            raise InvalidInput.at("/first", "range", f"the chain has {end} seals")
        last = min(end, first + limit - 1)
        links = audit_seals.chain(connection, tenant_id, first - 1, last)
        found = audit_seals.contents(connection, tenant_id, first, last)
        unsealed = audit_seals.unsealed(connection, tenant_id, LATE_S)
    faults = []
    for seq in range(first, last + 1):
        before = links[seq - 1].mac if seq - 1 in links else BEGINNING
        fault = _fault(key, actor, links.get(seq), found.get(seq), before, seq)
        if fault is not None:
            faults.append(fault)
    head = links.get(last)
    return Verification(
        faults=tuple(faults),
        seals=len([seq for seq in links if seq >= first]),
        records=sum(one.records for one in found.values()),
        unsealed=unsealed,
        head_seq=last,
        head_mac=head.mac.hex() if head else "",
        next=last + 1 if last < end else None,
    )


def _fault(
    key: AuditKey,
    actor: Actor,
    link: audit_seals.Seal | None,
    found: audit_seals.Contents | None,
    before: bytes,
    seq: int,
) -> SealFault | None:
    if link is None:
        return SealFault(seq, "seal_missing", "the seal was removed")
    try:
        mac = key.mac(link.key_id, actor.tenant_id, seq, before, link.records, link.digest)
    except KeyMissing as missing:
        # The digest is only the database's own word, yet whoever changes records must know to change it too.
        return _changed(link, found) or SealFault(seq, "other_key", missing.message, link.key_id)
    if mac != link.mac:
        return SealFault(seq, "seal_changed", "the seal, or the one before it, was changed")
    return _changed(link, found)


def _changed(link: audit_seals.Seal, found: audit_seals.Contents | None) -> SealFault | None:
    if found is None or (found.records, found.digest) != (link.records, link.digest):
        left = found.records if found else 0
        return SealFault(link.seq, "records_changed", f"{link.records} records were sealed, {left} are there")
    return None
