"""Histograms of how long runs took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
"""Upper bounds of the buckets in seconds, as `usage_bounds` in SQL has them; the last bucket has none."""
MEASURES: Final = ("wait", "duration")
LONGEST_DAYS: Final = 400


@dataclass(frozen=True, slots=True)
class Histogram:
    """Runs by bucket; bucket 0 ends at the first bound."""

    runs: Mapping[int, int]

    @property
    def total(self) -> int:
        """How many runs there are."""
        return sum(self.runs.values())

    def quantile_s(self, share: float) -> float | None:
        """Estimate a quantile in seconds, evenly spread within its bucket as Prometheus does.

        None without runs; the last bound when the quantile lies beyond it.
        """
        wanted = share * self.total
        below = 0
        for bucket in sorted(self.runs):
            count = self.runs[bucket]
            if count and below + count >= wanted:
                if bucket >= len(BOUNDS_S):
                    return float(BOUNDS_S[-1])
                low = BOUNDS_S[bucket - 1] if bucket else 0.0
                return low + (BOUNDS_S[bucket] - low) * (wanted - below) / count
            below += count
        return None

    def cumulative(self) -> list[tuple[float | None, int]]:
        """Return how many runs took at most so long, for each bound; None for all."""
        found, below = [], 0
        for bucket, bound in enumerate((*BOUNDS_S, None)):
            below += self.runs.get(bucket, 0)
            found.append((None if bound is None else float(bound), below))
        return found
