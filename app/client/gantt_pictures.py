"""The Gantt chart of a run: as SVG, Mermaid, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from app.client import svg
from app.client.graph_pictures import headline, subline
from app.client.portrait import Bar, Portrait, seconds

ROW: Final = 22.0
CHART: Final = 720.0
MARGIN: Final = 24.0
HEAD: Final = 78.0
TICKS: Final = 8
LEAST: Final = 2.0
"""Width of the shortest bar: what was there is seen."""
_NICE: Final = (1, 2, 5, 10, 15, 30, 60)
_SAFE: Final = re.compile(r"[^\w. -]")
_MERMAID: Final = {"succeeded": "done, ", "failed": "crit, ", "running": "active, "}


def gantt_svg(portrait: Portrait) -> str:
    """Return the chart as a picture of its own: a row for each step, in the plan's order."""
    labels = svg.CHARACTER * min(40, max((len(bar.key) for bar in portrait.bars), default=1) + 3)
    left = MARGIN + labels
    scale = CHART / portrait.span if portrait.span > 0 else 0.0
    bottom = HEAD + ROW * len(portrait.bars)
    parts = [
        svg.text(MARGIN, 24, headline(portrait), "q-ink q-strong"),
        svg.text(MARGIN, 42, subline(portrait), "q-faint q-small"),
    ]
    for moment in ticks(portrait.span):
        x = left + moment * scale
        line = {"x1": svg.num(x), "x2": svg.num(x), "y1": svg.num(HEAD - 8), "y2": svg.num(bottom)}
        parts.append(svg.element("line", {**line, "class": "q-line"}))
        parts.append(svg.text(x, HEAD - 14, seconds(moment), "q-faint q-small", anchor="middle"))
    for number, bar in enumerate(portrait.bars):
        parts.append(_row(bar, HEAD + ROW * number, left, labels, scale))
    width = max(left + CHART + 90, MARGIN + svg.CHARACTER * len(headline(portrait))) + MARGIN
    return svg.picture(width, bottom + MARGIN, headline(portrait), subline(portrait), parts)


def gantt_mermaid(portrait: Portrait) -> str:
    """Return the chart as a Mermaid Gantt diagram; steps that have not begun are left out."""
    origin = datetime.fromisoformat(portrait.origin)
    lines = [
        "gantt",
        f"  title {_SAFE.sub(' ', headline(portrait))}",
        "  dateFormat x",
        "  axisFormat %H:%M:%S",
    ]
    section = None
    for number, bar in enumerate(portrait.bars):
        if bar.began is None or bar.ended is None:
            continue
        if bar.base != section:
            section = bar.base
            lines.append(f"  section {_SAFE.sub(' ', section)}")
        first, last = (_epoch_ms(origin, moment) for moment in (bar.began, bar.ended))
        mark = _MERMAID.get(bar.state, "")
        lines.append(f"  {_SAFE.sub(' ', bar.key)} :{mark}s{number}, {first}, {max(last, first + 1)}")
    return "\n".join(lines) + "\n"


def gantt_json(portrait: Portrait) -> str:
    """Return the rows; times are seconds since `origin`."""
    document = {
        **portrait.head(),
        "rows": [{name: getattr(bar, name) for name in bar.__slots__} for bar in portrait.bars],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


GANTTS: Final[Mapping[str, Callable[[Portrait], str]]] = {
    "svg": gantt_svg,
    "mermaid": gantt_mermaid,
    "json": gantt_json,
}


def ticks(span: float) -> list[float]:
    """Return round moments of the axis, from 0 to the span, at most nine."""
    if span <= 0:
        return [0.0]
    unit = 10.0 ** math.floor(math.log10(span / TICKS)) if span < TICKS * 10 else 1.0
    while True:
        for nice in _NICE:
            if span / (nice * unit) <= TICKS:
                step = nice * unit
                return [round(number * step, 6) for number in range(int(span / step) + 1)]
        unit *= 60


def _row(bar: Bar, y: float, left: float, labels: float, scale: float) -> str:
    name = f"{svg.MARKS.get(bar.state, '○')} {bar.key}"
    style = "q-ink q-strong" if bar.critical else "q-ink"
    label = svg.text(MARGIN, y + 14, svg.cut(name, labels), style)
    if bar.began is None or bar.ended is None:
        return svg.element("g", {}, svg.title(f"{bar.key}: {bar.state}, has not begun"), label)
    took = seconds(bar.ended - bar.began)
    tries = f", {bar.tries} tries" if bar.tries > 1 else ""
    told = f"{bar.key}: {bar.state}. {bar.operation}, from {seconds(bar.began)}, {took}{tries}"
    x, width = left + bar.began * scale, max(LEAST, (bar.ended - bar.began) * scale)
    box = {"x": svg.num(x), "y": svg.num(y + 3), "width": svg.num(width), "height": svg.num(ROW - 7)}
    thick = " q-critical" if bar.critical else ""
    shape = svg.element("rect", {**box, "rx": "3", "class": f"q-bar q-{svg.known(bar.state)}{thick}"})
    words = svg.text(x + width + 6, y + 14, took + tries, "q-faint q-small")
    return svg.element(
        "g", {}, svg.title(told + (". On the critical path." if bar.critical else "")), label, shape, words
    )


def _epoch_ms(origin: datetime, moment: float) -> int:
    return round((origin + timedelta(seconds=moment)).timestamp() * 1000)
