"""Identifiers that the database makes: version 7, ordered by time, none twice."""

from __future__ import annotations

from uuid import RFC_4122

from app.domain.ids import uuid7_ms
from tests.support.spine import Spine

VERSION = 7


def test_identifiers_are_unique_version_7_in_order_of_time(spine: Spine) -> None:
    rows = spine.app.call(
        "SELECT uuid_v7(), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        " FROM generate_series(1, 20000)"
    )
    made = [row[0] for row in rows]
    assert len(set(made)) == len(made)
    assert {(each.version, each.variant) for each in made} == {(VERSION, RFC_4122)}
    assert all(0 <= after - uuid7_ms(each) < 1000 for each, after in rows), "the moment it was made"
    assert [uuid7_ms(each) for each in made] == sorted(uuid7_ms(each) for each in made)


def test_sessions_make_different_identifiers(spine: Spine) -> None:
    made = set()
    for _ in range(3):
        spine.app.dispose()  # the next call opens a session of its own
        made |= {
            row[0].int & (1 << 62) - 1
            for row in spine.app.call("SELECT uuid_v7() FROM generate_series(1, 99)")
        }
    assert len(made) == 3 * 99
