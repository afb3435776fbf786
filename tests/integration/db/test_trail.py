"""The numbers of administrative events."""

from __future__ import annotations

from app.db import trail
from app.db.trail import Mark
from tests.support.spine import ACTOR, Spine

CHANGE = ("secret.put", "secrets/A", "secret.changed", {"name": "A", "version": 1})


def test_a_pruned_subject_never_repeats_a_number(spine: Spine) -> None:
    def mark() -> int:
        with spine.app.tenant(spine.tenant) as connection:
            trail.leave(connection, spine.tenant, ACTOR, Mark(*CHANGE))
        return int(spine.admin.call("SELECT max(seq) FROM events WHERE subject = 'secrets/A'")[0][0])

    first, second = mark(), mark()
    assert second == first + 1
    # As if both were written an hour ago, and pruned since.
    spine.admin.call("DELETE FROM events WHERE subject = 'secrets/A' RETURNING seq")
    assert mark() > second - 3600 > 0
