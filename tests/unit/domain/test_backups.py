"""A backup is due once a day, again an hour after a try that failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backups import RETRY_S, Standing, is_due

NOW = datetime(2026, 11, 27, 14, 0, tzinfo=UTC)
HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("verified_h", "tried_h", "hour", "due"),
    [
        (None, None, 2, True),
        (11, 11, 2, False),  # at 03:00 today
        (13, 13, 2, True),  # at 01:00 today
        (13, 13, 15, False),  # 15:00 was yesterday
        (24, 24, 14, True),  # 14:00 has just come
        (0, 0, 14, False),
        (36, 0.5, 2, False),  # tried half an hour ago
        (36, 1, 2, True),
        (None, 0.5, 2, False),
    ],
)
def test_due(verified_h: float | None, tried_h: float | None, hour: int, due: bool) -> None:
    verified, tried = (None if hours is None else NOW - hours * HOURS for hours in (verified_h, tried_h))
    assert is_due(Standing(verified, tried, under_way=False), NOW, hour) is due
    assert not is_due(Standing(verified, tried, under_way=True), NOW, hour)
    assert RETRY_S == 3600
