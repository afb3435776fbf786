"""What a due schedule does: catching up, meeting an unfinished run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.domain.schedules import Look, Rules, Standing, Timing, look
from app.services.firing_times import last_until, times_after

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTELY = Timing(every_s=60, start_at=START)
RUN = UUID(int=7)


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def seen(now: datetime, rules: Rules, timing: Timing = MINUTELY, **more: object) -> Look:
    standing = Standing(UUID(int=1), timing, rules, START, **more)  # type: ignore[arg-type]  # named by the cases
    return look(standing, now, times_after, last_until)


def outcomes(found: Look) -> list[tuple[float, str, str | None]]:
    return [
        ((one.scheduled_at - START).total_seconds() / 60, one.outcome, one.reason) for one in found.firings
    ]


def test_on_time_it_fires_once_whatever_the_policy() -> None:
    for catch_up in ("all", "latest", "none"):
        found = seen(after(0.1), Rules("allow", catch_up))
        assert outcomes(found) == [(0, "started", None)]
        assert found.next_at == after(1)


@pytest.mark.parametrize(
    ("catch_up", "window_s", "expected"),
    [
        ("all", 3600, [(n, "started", None) for n in range(6)]),
        (
            "all",
            150,
            [(0, "skipped", "missed"), (3, "started", None), (4, "started", None), (5, "started", None)],
        ),
        ("latest", 3600, [(0, "skipped", "missed"), (5, "started", None)]),
        ("none", 3600, [(0, "skipped", "missed"), (5, "started", None)]),
    ],
)
def test_after_an_outage(
    catch_up: str, window_s: float, expected: list[tuple[float, str, str | None]]
) -> None:
    found = seen(after(5.4), Rules("allow", catch_up, window_s))
    assert outcomes(found) == expected
    assert found.next_at == after(6)


def test_none_leaves_out_what_is_late() -> None:
    found = seen(after(5.8), Rules("allow", "none"))
    assert outcomes(found) == [(0, "skipped", "missed")]
    assert found.next_at == after(6)


def test_a_long_outage_is_caught_up_in_bounded_looks() -> None:
    found = seen(after(500), Rules("allow", "all", 1e6))
    assert len(found.firings) == 100
    assert found.next_at == after(100)


@pytest.mark.parametrize(
    ("overlap", "expected", "cancel"),
    [
        ("allow", ["started", "started", "started"], ()),
        ("skip", ["skipped", "skipped", "skipped"], ()),
        ("queue", ["queued", "queued", "queued"], ()),
        ("cancel_running", ["skipped", "skipped", "started"], (RUN,)),
    ],
)
def test_meeting_an_unfinished_run(overlap: str, expected: list[str], cancel: tuple[UUID, ...]) -> None:
    found = seen(after(2.1), Rules(overlap, "all"), open_runs=[RUN])
    assert [one.outcome for one in found.firings] == expected
    assert found.cancel == cancel


@pytest.mark.parametrize(
    ("overlap", "expected"), [("skip", ["started", "skipped"]), ("queue", ["started", "queued"])]
)
def test_the_first_firing_is_in_the_way_of_the_second(overlap: str, expected: list[str]) -> None:
    assert [one.outcome for one in seen(after(1.1), Rules(overlap, "all")).firings] == expected


def test_a_full_queue_skips() -> None:
    found = seen(after(0.1), Rules("queue"), open_runs=[RUN], queued=100)
    assert outcomes(found) == [(0, "skipped", "queue_full")]


def test_the_last_firing_ends_it() -> None:
    timing = Timing(every_s=60, start_at=START, end_at=after(0.5))
    assert seen(after(0.1), Rules(), timing).next_at is None
