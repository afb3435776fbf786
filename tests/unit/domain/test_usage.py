"""Quantiles out of buckets."""

from __future__ import annotations

import pytest

from app.domain.usage import BOUNDS_S, Histogram


def test_a_quantile_lies_within_its_bucket() -> None:
    found = Histogram({3: 50, 5: 50})
    assert found.quantile_s(0.5) == pytest.approx(0.1)
    assert found.quantile_s(0.25) == pytest.approx(0.075)
    assert found.quantile_s(0.75) == pytest.approx(0.375)


def test_nothing_has_no_quantile_and_the_longest_are_told_by_the_last_bound() -> None:
    assert Histogram({}).quantile_s(0.5) is None
    assert Histogram({3: 0}).quantile_s(0.5) is None
    assert Histogram({len(BOUNDS_S): 1}).quantile_s(0.99) == BOUNDS_S[-1]


def test_counts_add_up_to_all() -> None:
    counts = Histogram({0: 1, 2: 3, len(BOUNDS_S): 2}).cumulative()
    assert counts[0] == (0.01, 1)
    assert counts[2] == (0.05, 4)
    assert counts[-1] == (None, 6)
    assert counts[-2] == (86_400.0, 4)
