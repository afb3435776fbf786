"""How new a replica is: told from positions, not from clocks of two machines."""

from __future__ import annotations

import math

import pytest

from app.domain.replication import Freshness, parse_position


def test_positions_are_numbers_in_order() -> None:
    assert parse_position("0/0") == 0
    assert parse_position("16/B374D848") == 0x16_B374D848
    assert parse_position("1/0") > parse_position("0/FFFFFFFF")


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "g/0", "1/2/3", "123456789/0", " 0/0", "0/0\n"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        parse_position(text)


def test_nothing_is_known_before_the_first_look() -> None:
    assert Freshness(5).lag(100.0) == math.inf


def test_an_idle_primary_does_not_make_a_replica_old() -> None:
    fresh = Freshness(5)
    for second in range(1000):
        fresh.note(second, 70, 70)
    assert fresh.lag(999.5) == 0.5


def test_a_replica_is_as_old_as_the_last_position_it_has_passed() -> None:
    fresh = Freshness(5)
    fresh.note(1.0, 100, 100)
    fresh.note(2.0, 200, 100)
    fresh.note(3.0, 300, 199)
    assert fresh.lag(3.0) == 2.0, "not one byte short of 200 counts"
    fresh.note(4.0, 400, 200)
    assert fresh.lag(4.0) == 2.0
    fresh.note(5.0, 400, 400)
    assert fresh.lag(5.0) == 0.0


def test_without_looks_the_lag_grows_with_the_time() -> None:
    fresh = Freshness(5)
    fresh.note(1.0, 100, 100)
    assert fresh.lag(61.0) == 60.0


def test_a_replica_that_stood_still_for_long_is_new_again_once_it_has_caught_up() -> None:
    fresh = Freshness(5)
    fresh.note(0.0, 100, 100)
    for second in range(1, 1000):
        fresh.note(second, 100 + second, 100)
    assert fresh.lag(999.0) == 999.0
    assert len(fresh._noted) <= 6, "what is older than the bound is not kept"
    fresh.note(1000.0, 1100, 1050)
    assert fresh.lag(1000.0) == 1000.0, "half of the way is not enough"
    fresh.note(1001.0, 1101, 1101)
    assert fresh.lag(1001.0) == 0.0


def test_a_replica_of_another_history_is_out_until_it_moves() -> None:
    fresh = Freshness(5)
    fresh.note(1.0, 100, 100)
    fresh.note(2.0, 90, 100)
    assert fresh.strayed
    assert fresh.lag(2.0) == math.inf
    fresh.note(3.0, 120, 100)
    assert fresh.strayed, "the new primary has passed it by number: it still is another history"
    assert fresh.lag(3.0) == math.inf
    fresh.note(4.0, 130, 125)
    assert not fresh.strayed
    fresh.note(5.0, 130, 130)
    assert fresh.lag(5.0) == 0.0
