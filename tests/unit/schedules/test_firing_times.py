"""When schedules fire, around the days on which clocks change among others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from uuid import UUID

import pytest

from app.domain.schedules import Timing, due_at
from app.services.firing_times import check_cron, last_until, times_after, zone

BERLIN = "Europe/Berlin"  # 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00
NEW_YORK = "America/New_York"
SANTIAGO = "America/Santiago"  # at midnight: 2026-09-06 00:00 -> 01:00, 2026-04-05 00:00 -> 23:00
LORD_HOWE = "Australia/Lord_Howe"  # half an hour: 2026-10-04 02:00 -> 02:30


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def first(timing: Timing, after: str, count: int) -> list[datetime]:
    return list(islice(times_after(timing, at(after)), count))


@pytest.mark.parametrize(
    ("cron", "timezone", "after", "expected"),
    [
        # The gap: a fixed time that does not exist comes as soon as the clock goes on, once.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("30 2 * * *", NEW_YORK, "2026-03-08T00:00Z", ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03T12:00Z", ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]),
        # The overlap: a fixed time that comes twice fires once.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("30 1 * * *", NEW_YORK, "2026-11-01T00:00Z", ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]),
        # From within the second passage of the hour: not again.
        ("30 2 * * *", BERLIN, "2026-10-25T01:10Z", ["2026-10-26T01:30Z"]),
        # Wildcards go by elapsed time: every half hour, whatever the clock shows.
        ("*/30 * * * *", BERLIN, "2026-03-29T00:45Z", ["2026-03-29T01:00Z", "2026-03-29T01:30Z"]),
        ("*/30 * * * *", BERLIN, "2026-10-25T00:15Z", ["2026-10-25T00:30Z", "2026-10-25T01:00Z"]),
        # Seconds before five fields follow the same rules.
        ("30 30 2 * * *", BERLIN, "2026-03-28T12:00Z", ["2026-03-29T01:00:30Z", "2026-03-30T00:30:30Z"]),
        ("30 30 2 * * *", BERLIN, "2026-10-24T12:00Z", ["2026-10-25T00:30:30Z", "2026-10-26T01:30:30Z"]),
        ("*/20 * * * * *", "UTC", "2026-01-01T00:00:05Z", ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"]),
        # Hours that do not exist, or come twice, around midnight.
        ("0 0 * * *", SANTIAGO, "2026-09-05T12:00Z", ["2026-09-06T04:00Z", "2026-09-07T03:00Z"]),
        ("30 0 * * *", SANTIAGO, "2026-09-05T12:00Z", ["2026-09-06T04:00Z", "2026-09-07T03:30Z"]),
        ("30 23 * * *", SANTIAGO, "2026-04-04T12:00Z", ["2026-04-05T02:30Z", "2026-04-06T03:30Z"]),
        ("0 0 24 4 *", "Africa/Cairo", "2026-01-01T00:00Z", ["2026-04-23T22:00Z", "2027-04-23T22:00Z"]),
        # Half an hour comes twice.
        ("45 1 * * *", LORD_HOWE, "2026-04-04T12:00Z", ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]),
        # Two times within the gap are one firing, as is one within beside one at its end.
        ("15,45 2 * * *", BERLIN, "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:15Z"]),
        ("0 2-4 * * *", BERLIN, "2026-03-28T22:00Z", ["2026-03-29T01:00Z", "2026-03-29T02:00Z"]),
        # A zone leaves out a whole day: what was to fire in it fires when the next one begins.
        ("0 12 30 12 *", "Pacific/Apia", "2011-01-01T00:00Z", ["2011-12-30T10:00Z", "2012-12-29T22:00Z"]),
        ("0 12 29 2 *", "UTC", "2026-01-01T00:00Z", ["2028-02-29T12:00Z", "2032-02-29T12:00Z"]),
        ("0 0 31 * *", "UTC", "2026-01-31T00:00Z", ["2026-03-31T00:00Z", "2026-05-31T00:00Z"]),
        ("0 9 * * MON#1", "UTC", "2026-01-01T00:00Z", ["2026-01-05T09:00Z", "2026-02-02T09:00Z"]),
        ("0 0 * * *", "Asia/Kolkata", "2026-01-01T00:00Z", ["2026-01-01T18:30Z", "2026-01-02T18:30Z"]),
    ],
)
def test_cron(cron: str, timezone: str, after: str, expected: list[str]) -> None:
    found = first(Timing(cron=cron, timezone=timezone), after, len(expected))
    assert found == [at(text) for text in expected]


def test_an_interval_keeps_its_grid_and_its_bounds() -> None:
    timing = Timing(every_s=90, start_at=at("2026-01-01T00:00Z"), end_at=at("2026-01-01T00:05Z"))
    moments = [at("2026-01-01T00:00Z") + timedelta(seconds=90 * n) for n in range(4)]
    assert first(timing, "2025-12-31T00:00Z", 10) == moments
    assert first(timing, "2026-01-01T00:01:30Z", 10) == moments[2:]
    assert last_until(timing, at("2026-01-01T00:02Z")) == moments[1]
    assert last_until(timing, at("2027-01-01T00:00Z")) == moments[3]
    assert last_until(timing, at("2025-01-01T00:00Z")) is None


def test_a_single_moment_fires_once() -> None:
    timing = Timing(at=at("2026-05-01T08:00Z"))
    assert first(timing, "2026-01-01T00:00Z", 5) == [at("2026-05-01T08:00Z")]
    assert first(timing, "2026-05-01T08:00Z", 5) == []


@pytest.mark.parametrize(
    "moment", ["2026-03-29T01:00Z", "2026-03-29T00:59:59Z", "2026-10-25T01:10Z", "2026-06-01T00:00:00.5Z"]
)
def test_the_last_firing_is_the_one_before_the_next(moment: str) -> None:
    timing = Timing(cron="30 2 * * *", timezone=BERLIN)
    last = last_until(timing, at(moment))
    assert last is not None
    assert last <= at(moment)
    following = next(times_after(timing, last))
    assert following > at(moment), "no firing lies between"


@pytest.mark.parametrize(
    ("cron", "timezone", "after"),
    [
        ("0 0 * * *", SANTIAGO, "2026-09-01T00:00Z"),
        ("30 23 * * *", SANTIAGO, "2026-04-01T00:00Z"),
        ("0 2-4 * * *", BERLIN, "2026-03-27T00:00Z"),
        ("*/20 30 2 * * *", BERLIN, "2026-10-24T00:00Z"),
        ("45 1 * * *", LORD_HOWE, "2026-04-01T00:00Z"),
        ("0 12 * * *", "Pacific/Apia", "2011-12-27T00:00Z"),
    ],
)
def test_forwards_and_backwards_agree_around_clock_changes(cron: str, timezone: str, after: str) -> None:
    timing = Timing(cron=cron, timezone=timezone)
    found = first(timing, after, 30)
    for one, following in pairwise(found):
        assert one < following
        for moment in (one, one + (following - one) / 2, following - timedelta(microseconds=1)):
            assert last_until(timing, moment) == one
            assert next(times_after(timing, moment)) == following


def test_jitter_is_bounded_and_the_same_each_time() -> None:
    timing = Timing(every_s=60, start_at=at("2026-01-01T00:00Z"), jitter_s=10)
    moments = [at("2026-01-01T00:00Z") + timedelta(minutes=n) for n in range(50)]
    delays = [(due_at(UUID(int=1), timing, moment) - moment).total_seconds() for moment in moments]
    assert all(0 <= delay < 10 for delay in delays)
    assert len(set(delays)) == 50
    assert delays == [(due_at(UUID(int=1), timing, moment) - moment).total_seconds() for moment in moments]


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "60 * * * *", "0 0 30 2 *", "@daily", "* * * * * * *", "a b c d e"]
)
def test_bad_cron_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="write minute"):
        check_cron(cron)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "", "/etc/localtime"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone(name)
