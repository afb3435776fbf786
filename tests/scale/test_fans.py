"""A foreach of three thousand items, from its acceptance to its join: its cost grows with its width only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.rig import Rig, rig_on

pytestmark = pytest.mark.scale

WIDE, NARROW = 3_000, 300
SLACK = 2.0
"""How much more an item of the wide fan may cost than one of the narrow one; quadratic would be ten times."""
MOST_MORE_MB = 100.0

SPANS = """
  SELECT extract(epoch FROM f.started_at - r.created_at)::float AS fanned_out,
         extract(epoch FROM max(i.finished_at) - f.started_at)::float AS performed,
         extract(epoch FROM max(i.finished_at) FILTER (WHERE i.item < {third}) - f.started_at)::float
           AS first_third,
         extract(epoch FROM max(i.finished_at)
           - max(i.finished_at) FILTER (WHERE i.item < 2 * {third}))::float AS last_third,
         extract(epoch FROM j.finished_at - max(i.finished_at))::float AS joined,
         sum(i.tries)::integer AS tries, count(i.item)::integer AS items
  FROM runs r
  JOIN run_steps f ON f.run_id = r.id AND f.key = 'each'
  JOIN run_steps j ON j.run_id = r.id AND j.key = 'join'
  JOIN run_steps i ON i.run_id = r.id AND i.base = 'each' AND i.item IS NOT NULL
  WHERE r.id = %s GROUP BY r.created_at, f.started_at, j.finished_at
"""


@dataclass(frozen=True)
class Figures:
    """Seconds of one run, megabytes of its worker after it."""

    accepted: float
    spans: dict[str, Any]
    worker_mb: float

    @property
    def item_ms(self) -> float:
        return 1000 * float(self.spans["performed"]) / int(self.spans["items"])


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A beat with one worker of four processes."""
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        rig.beat()
        rig.worker(concurrency=4)
        yield rig


def resident_mb(rig: Rig) -> float:
    """Return what the processes of the worker hold in memory, zero where the system does not say."""
    (row,) = rig.rows("SELECT pid, children FROM workers WHERE state = 'live'")
    statuses = [Path(f"/proc/{pid}/status") for pid in (row["pid"], *(one["pid"] for one in row["children"]))]
    lines = [line for path in statuses if path.exists() for line in path.read_text().splitlines()]
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def perform(rig: Rig, width: int, **more: Any) -> Figures:
    """Run a fan of so many items to its join."""
    each = {"id": "each", "uses": "core.echo", "foreach": f"range({width})", "with": {"message": "${item}"}}
    join = {"id": "join", "uses": "core.echo", "needs": ["each"]}
    last = f"steps.each.output[{width - 1}].message"
    total = {"message": "${size(steps.each.output)} items, the last ${" + last + "}"}
    began = time.monotonic()
    run = rig.submit([{**each, **more}, {**join, "with": total}])
    accepted = time.monotonic() - began
    rig.ends(run, within=600)
    assert rig.step(run, "join")["output"]["message"] == f"{width} items, the last {width - 1}"
    (spans,) = rig.rows(SPANS.format(third=width // 3), run)
    assert (spans["items"], spans["tries"]) == (width, width), "each item ran once"
    return Figures(accepted, spans, resident_mb(rig))


@pytest.mark.parametrize("more", [{}, {"max_parallel": 8}], ids=["all", "eight at once"])
def test_three_thousand_items_cost_ten_times_three_hundred(rig: Rig, more: dict[str, Any]) -> None:
    perform(rig, 30, **more)
    narrow = perform(rig, NARROW, **more)
    wide = perform(rig, WIDE, **more)
    for width, found in ((NARROW, narrow), (WIDE, wide)):
        names = ("fanned_out", "performed", "first_third", "last_third", "joined")
        spans = ", ".join(f"{name} {found.spans[name]:.2f} s" for name in names)
        print(
            f"{width} items {more}: accepted {found.accepted:.2f} s, {spans}; {found.item_ms:.2f} ms an item;"
            f" worker {found.worker_mb:.0f} MB"
        )
    assert wide.item_ms <= narrow.item_ms * SLACK
    assert wide.spans["last_third"] <= wide.spans["first_third"] * SLACK
    assert wide.worker_mb - narrow.worker_mb <= MOST_MORE_MB
    assert wide.spans["joined"] < 5
