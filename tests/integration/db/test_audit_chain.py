"""The audit chain: what was changed after it was sealed shows."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest

from app.db import trail
from app.db.trail import Mark
from app.domain.errors import InvalidInput
from app.domain.identity import Actor
from app.security.audit_chain import AuditKey
from app.security.key_ring import KeyRing
from app.services.seal_audit import seal_audit
from app.services.verify_audit import Verification, verify_audit
from tests.support.servers import DatabaseUrls
from tests.support.spine import ACTOR, Spine

KEY = AuditKey(KeyRing((b"k" * 32,)))
NEWER = AuditKey(KeyRing((b"n" * 32, b"k" * 32)))


@pytest.fixture
def sealed(database_urls: DatabaseUrls) -> Iterator[Spine]:
    """A tenant with three seals over two records each."""
    spine = Spine(database_urls)
    for number in range(3):
        mark(spine, f"a.{number}")
        mark(spine, f"b.{number}")
        assert seal_audit(spine.system, KEY) == 2
    yield spine
    # The next test's pass is to find its own records only.
    spine.admin.call("DELETE FROM audit_records WHERE tenant_id = %s", (spine.tenant,))


def mark(spine: Spine, subject: str) -> None:
    with spine.app.tenant(spine.tenant) as connection:
        trail.leave(connection, spine.tenant, ACTOR, Mark("secret.put", f"secrets/{subject}"))


def verify(spine: Spine, first: int = 1, limit: int = 100, key: AuditKey = KEY) -> Verification:
    actor = Actor(spine.tenant, "t", None, "auditor@example.org", frozenset({"auditor"}), "req")
    return verify_audit(spine.app, key, actor, first, limit)


def found(spine: Spine) -> list[tuple[int, str]]:
    return [(fault.seq, fault.code) for fault in verify(spine).faults]


def test_an_untouched_trail_is_intact(sealed: Spine) -> None:
    report = verify(sealed)
    assert (report.intact, report.seals, report.records, report.unsealed) == (True, 3, 6, 0)
    assert (report.head_seq, report.next) == (3, None)
    parts = [verify(sealed, first, 2) for first in (1, 3)]
    assert [(part.intact, part.seals, part.next) for part in parts] == [(True, 2, 3), (True, 1, None)]
    assert parts[1].head_mac == report.head_mac
    assert seal_audit(sealed.system, KEY) == 0
    with pytest.raises(InvalidInput):
        verify(sealed, 4)


@pytest.mark.parametrize(
    ("tampering", "faults"),
    [
        (
            "UPDATE audit_records SET source_ip = '10.0.0.1' WHERE subject = 'secrets/a.1'",
            [(2, "records_changed")],
        ),
        (
            "UPDATE audit_records SET created_at = created_at - interval '1 h' WHERE seal = 3",
            [(3, "records_changed")],
        ),
        ("DELETE FROM audit_records WHERE subject = 'secrets/b.0'", [(1, "records_changed")]),
        ("DELETE FROM audit_records WHERE seal = 2", [(2, "records_changed")]),
        (
            "UPDATE audit_records SET seal = 1 WHERE seal = 2",
            [(1, "records_changed"), (2, "records_changed")],
        ),
        ("DELETE FROM audit_seals WHERE seq = 2", [(2, "seal_missing"), (3, "seal_changed")]),
        ("DELETE FROM audit_seals WHERE seq = 3", [(3, "seal_missing")]),
        ("UPDATE audit_seals SET records = 1 WHERE seq = 2", [(2, "seal_changed")]),
        (
            "WITH gone AS (DELETE FROM audit_records WHERE subject = 'secrets/a.0')"
            " UPDATE audit_seals SET records = 1, digest = d.digest"
            " FROM (SELECT sha256('forged'::bytea) AS digest) d WHERE seq = 1",
            [(1, "seal_changed")],
        ),
    ],
)
def test_tampering_shows(sealed: Spine, tampering: str, faults: list[tuple[int, str]]) -> None:
    # Even a superuser of the database has no key.
    sealed.admin.call(tampering.replace(" WHERE ", f" WHERE tenant_id = '{sealed.tenant}' AND "))
    assert found(sealed) == faults


def test_a_cut_at_the_end_shows_against_a_kept_head(sealed: Spine) -> None:
    head = verify(sealed).head_mac
    sealed.admin.call("DELETE FROM audit_records WHERE tenant_id = %s AND seal = 3", (sealed.tenant,))
    sealed.admin.call("DELETE FROM audit_seals WHERE tenant_id = %s AND seq = 3", (sealed.tenant,))
    mark(sealed, "c")
    assert seal_audit(sealed.system, KEY) == 1
    report = verify(sealed)
    assert report.intact
    assert (report.head_seq, report.head_mac == head) == (3, False)


def test_a_chain_of_another_key_is_told(sealed: Spine) -> None:
    strange = AuditKey(KeyRing((b"x" * 32,)))
    faults = verify(sealed, key=strange).faults
    assert {(fault.code, fault.key_id) for fault in faults} == {("other_key", KEY.key_id)}
    sealed.admin.call("DELETE FROM audit_records WHERE tenant_id = %s AND seal = 2", (sealed.tenant,))
    assert [fault.code for fault in verify(sealed, key=strange).faults] == [
        "other_key",
        "records_changed",
        "other_key",
    ]


def test_a_chain_goes_on_under_a_newer_key_and_holds_across(sealed: Spine) -> None:
    mark(sealed, "d")
    assert seal_audit(sealed.system, NEWER) == 1
    report = verify(sealed, key=NEWER)
    assert (report.intact, report.seals) == (True, 4)
    alone = AuditKey(KeyRing((b"n" * 32,)))
    assert [(fault.seq, fault.key_id) for fault in verify(sealed, key=alone).faults] == [
        (seq, KEY.key_id) for seq in (1, 2, 3)
    ], "the first seal under the newer key holds on to the last one under the older"
    sealed.admin.call("UPDATE audit_seals SET mac = '' WHERE tenant_id = %s AND seq = 3", (sealed.tenant,))
    assert [(fault.seq, fault.code) for fault in verify(sealed, key=alone).faults][2:] == [
        (3, "other_key"),
        (4, "seal_changed"),
    ]


def test_a_record_that_commits_late_gets_a_later_seal(sealed: Spine) -> None:
    with sealed.app.tenant(sealed.tenant) as connection:
        trail.leave(connection, sealed.tenant, ACTOR, Mark("secret.put", "secrets/late"))
        mark(sealed, "early")
        assert seal_audit(sealed.system, KEY) == 1
    assert seal_audit(sealed.system, KEY) == 1
    assert verify(sealed).intact
    assert sealed.admin.call("SELECT seal FROM audit_records WHERE subject = 'secrets/late'") == [(5,)]


def test_a_second_sealer_leaves_the_chain_alone(sealed: Spine) -> None:
    mark(sealed, "d")
    with psycopg2.connect(sealed.urls.system) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('audit chain/' || %s::text, 0))",
            (str(sealed.tenant),),
        )
        assert seal_audit(sealed.system, KEY) == 0
    assert seal_audit(sealed.system, KEY) == 1
