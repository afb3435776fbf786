"""A dump is due once a day, a base backup when the log wants one, both again an hour after a failure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backups import RETRY_S, Standing, is_base_due, is_due

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


@pytest.mark.parametrize(
    ("based_h", "log_h", "tried_h", "due"),
    [
        (None, None, None, False),  # nobody receives the log
        (999, None, 999, False),
        (None, 0, None, True),
        (None, 5, 0.5, False),  # tried half an hour ago
        (5, 5, 5, False),  # begun with the log
        (6, 5, 6, True),  # of before a gap
        (47, 999, 2, False),
        (48, 999, 2, True),
    ],
)
def test_a_base_backup_is_due(
    based_h: float | None, log_h: float | None, tried_h: float | None, due: bool
) -> None:
    based, log, tried = (
        None if hours is None else NOW - hours * HOURS for hours in (based_h, log_h, tried_h)
    )
    assert is_base_due(Standing(NOW, tried, False, based, log), NOW, 2) is due
    assert not is_base_due(Standing(NOW, tried, True, based, log), NOW, 2)
