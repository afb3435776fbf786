"""The bounds of tests: sharp on a machine that has time, patient where many share it."""

from __future__ import annotations

import os

import pytest

from tests.support.waiting import eventually, patience


@pytest.mark.parametrize(("load", "factor"), [(0.1, 1.0), (4.0, 1.0), (12.0, 3.0), (90.0, 4.0)])
def test_patience_grows_with_the_load_of_each_core(
    monkeypatch: pytest.MonkeyPatch, load: float, factor: float
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert patience() == factor


def test_what_never_comes_is_told_with_the_bound_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 0.0, 0.0))
    with pytest.raises(AssertionError, match=r"not so within 0\.3 s: 'the bell'"):
        eventually(lambda: False, within=0.1, every=0.01, what="the bell")
