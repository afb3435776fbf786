"""Compares the burn-rate alerts of the service levels with their description here; `--write` writes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from checks.report import ROOT

FILE = ROOT / "deploy" / "prometheus" / "slo.rules.yml"
HEAD = """\
# Burn rates of the service levels over several windows (The Site Reliability Workbook, "Alerting on SLOs").
# Written by `python -m checks.slo --write`: change the description there.
groups:
  - name: quantum-slo
    rules:
"""
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
PAGE = ((14.4, "1h", "5m"), (6.0, "6h", "30m"))
"""Burn rate, long and short window: a fiftieth of a month's budget in an hour, a twentieth in six."""
TICKET = ((3.0, "1d", "2h"), (1.0, "3d", "6h"))
"""A tenth of the budget in a day, in three days."""


@dataclass(frozen=True, slots=True)
class Slo:
    """A service level: `bad` divided by all is to stay below `budget`; `<w>` stands for the window."""

    name: str
    alert: str
    budget: float
    promise: str
    ratio: str


def _late(metric: str, labels: str, bound: str) -> str:
    inside = ", ".join(part for part in (labels, f'le="{bound}"') if part)
    count = f"{{{labels}}}" if labels else ""
    return f"1 - sum(rate({metric}_bucket{{{inside}}}[<w>])) / sum(rate({metric}_count{count}[<w>]))"


SLOS = (
    Slo(
        "availability",
        "AvailabilityBurns",
        0.001,
        "99.9 % of the requests are answered",
        'sum(rate(quantum_api_requests_total{status=~"5.."}[<w>]))'
        " / sum(rate(quantum_api_requests_total[<w>]))",
    ),
    Slo(
        "submit",
        "SubmitLatencyBurns",
        0.05,
        "95 % of the submissions are answered within 200 ms",
        _late("quantum_api_request_seconds", 'route="/api/v1/intents", method="POST"', "0.2"),
    ),
    Slo(
        "database",
        "DatabaseLatencyBurns",
        0.05,
        "95 % of the statements are answered within 50 ms",
        _late("quantum_db_seconds", "", "0.05"),
    ),
)


def _ratio(slo: Slo, window: str) -> str:
    return slo.ratio.replace("<w>", window)


def _burns(slo: Slo, pairs: tuple[tuple[float, str, str], ...]) -> str:
    def above(window: str, factor: float) -> str:
        bound = f"{factor * slo.budget:.6g}"
        return f'quantum:slo_errors:ratio{window}{{slo="{slo.name}"}} > {bound}'

    return " or ".join(f"({above(long, factor)} and {above(short, factor)})" for factor, long, short in pairs)


def lines() -> Iterator[str]:
    """Yield the rules, line by line."""
    for slo in SLOS:
        for window in WINDOWS:
            yield f"      - record: quantum:slo_errors:ratio{window}"
            yield f"        expr: {_ratio(slo, window)}"
            yield f"        labels: {{slo: {slo.name}}}"
        for severity, pairs, spent in (("page", PAGE, "hours or days"), ("ticket", TICKET, "the month")):
            yield f"      - alert: {slo.alert}"
            yield f"        expr: {_burns(slo, pairs)}"
            yield f"        labels: {{severity: {severity}}}"
            yield "        annotations:"
            yield f'          summary: "{slo.promise}: at this rate the budget is spent within {spent}"'
            yield f"          runbook_url: docs/runbooks/slo-burn.md#{slo.name}"


def main(arguments: list[str]) -> int:
    """Return 1 when the file differs."""
    wanted = HEAD + "\n".join(lines()) + "\n"
    if "--write" in arguments:
        FILE.write_text(wanted)
        return 0
    if not FILE.is_file() or FILE.read_text() != wanted:
        print("deploy/prometheus/slo.rules.yml holds other rules than checks/slo.py describes: run --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
