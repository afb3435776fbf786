"""The benchmark's arithmetic: medians, ratios that read the same way for rates as for latencies."""

from __future__ import annotations

import json
from pathlib import Path

from bench.figures import Measure, figures, merge_latest, percentile, ratios, side_by_side, table


def measure(system: str, value: float, work: str = "W1", unit: str = "runs/s", load: float = 0.5) -> Measure:
    return Measure(work, system, value, unit, "lower" if unit == "ms" else "higher", load)


def test_a_figure_is_the_median_with_the_highest_load() -> None:
    [figure] = figures([measure("ours", 10, load=0.1), measure("ours", 30, load=2.0), measure("ours", 20)])
    assert (figure.value, figure.n, figure.load) == (20, 3, 2.0)


def test_a_ratio_above_one_is_better_for_rates_as_for_latencies() -> None:
    rates = [measure("ours", 50), measure("celery", 100)]
    delays = [measure("ours", 5, "W3", "ms"), measure("celery", 10, "W3", "ms")]
    assert ratios(figures(rates + delays)) == {
        (("W1", "", "runs/s"), "celery"): 0.5,
        (("W3", "", "ms"), "celery"): 2.0,
    }
    assert "| 0.50 |" in table(figures(rates))


def test_no_ratio_without_a_peer() -> None:
    assert ratios(figures([measure("ours", 50)])) == {}


def test_percentile_is_nearest_rank() -> None:
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([7.0], 0.95) == 7.0


def test_growth_stands_side_by_side_with_the_last_over_the_first() -> None:
    grown = [
        Measure("W7", "ours", value, "ms", "lower", 0.0, f"runs, deep, beside {amount}")
        for amount, value in (("10 runs", 2.0), ("20 runs", 3.0))
    ]
    assert side_by_side(figures(grown), "beside ").splitlines() == [
        "| work | 10 runs | 20 runs | last : first |",
        "| --- | --- | --- | --- |",
        "| W7 runs, deep, ms | 2.0 | 3.0 | 1.50 |",
    ]


def test_figures_replace_those_of_their_own_works_only(tmp_path: Path) -> None:
    latest = tmp_path / "out" / "latest.json"
    merge_latest(figures([measure("ours", 1, "W1"), measure("ours", 2, "relay redis")]), latest)
    merge_latest(figures([measure("ours", 3, "relay redis")]), latest)
    kept = json.loads(latest.read_text())
    assert [(one["work"], one["value"]) for one in kept] == [("W1", 1), ("relay redis", 3)]
