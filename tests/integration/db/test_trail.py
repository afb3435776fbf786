"""The numbers of administrative events."""

from __future__ import annotations

from app.db import trail
from app.db.trail import Mark
from tests.support.spine import ACTOR, Spine


def mark(spine: Spine, subject: str) -> int:
    """Leave a mark; return the number of its event."""
    with spine.app.tenant(spine.tenant) as connection:
        found = Mark("secret.put", subject, "secret.changed", {"name": subject[-1], "version": 1})
        trail.leave(connection, spine.tenant, ACTOR, found)
    return int(spine.admin.call("SELECT max(seq) FROM events WHERE subject = %s", (subject,))[0][0])


def an_hour_passes(spine: Spine, subject: str) -> None:
    """Number what is there as if it was written an hour ago."""
    spine.admin.call("UPDATE events SET seq = seq - 3600 WHERE subject = %s RETURNING seq", (subject,))


def test_a_pruned_subject_never_repeats_a_number(spine: Spine) -> None:
    first, second = mark(spine, "secrets/A"), mark(spine, "secrets/A")
    assert second > first > 0
    an_hour_passes(spine, "secrets/A")
    spine.admin.call("DELETE FROM events WHERE subject = 'secrets/A' RETURNING seq")
    assert mark(spine, "secrets/A") > second - 3600


def test_a_dead_letter_that_outlives_later_events_brings_none_of_their_numbers_back(spine: Spine) -> None:
    kept = mark(spine, "secrets/B")
    an_hour_passes(spine, "secrets/B")
    pruned = mark(spine, "secrets/B")
    an_hour_passes(spine, "secrets/B")
    spine.admin.call(
        "DELETE FROM events WHERE subject = 'secrets/B' AND seq = %s RETURNING seq", (pruned - 3600,)
    )
    assert mark(spine, "secrets/B") > pruned - 3600 > kept - 7200
