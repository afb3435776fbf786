"""A run as its pictures show it: steps with their times, needs, the critical path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from app.client.progress import StepLine, step_lines

Document = Mapping[str, Any]
MINUTE = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """One step, or one item of a fan; times are seconds since the run's beginning, None before that."""

    key: str
    base: str
    operation: str
    state: str
    began: float | None
    ended: float | None
    tries: int
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One step of the definition; of a fan the times are those of all its items together."""

    key: str
    operation: str
    state: str
    began: float | None
    ended: float | None
    tries: int
    items: int
    items_ended: int
    items_failed: int
    last_item: str | None = None
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A need: `target` waits for `source`, which has to end as `on` says."""

    source: str
    target: str
    on: str
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Portrait:
    """All that a picture of a run needs; `span` counts seconds from `origin` to the end, or to now."""

    run_id: str
    workflow: str
    state: str
    origin: str
    span: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    bars: tuple[Bar, ...]
    critical_path: tuple[str, ...]

    def head(self) -> dict[str, Any]:
        """Return what every picture says as JSON of the run itself."""
        return {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "state": self.state,
            "origin": self.origin,
            "span": round(self.span, 3),
            "critical_path": self.critical_path,
        }


def portray(run: Document, steps: Sequence[Document], now: datetime) -> Portrait:
    """Return the portrait of a run from its document and all its steps; what runs lasts until now."""
    begun = [_moment(step["started_at"]) for step in steps if step.get("started_at")]
    origin = min([_moment(run.get("started_at") or run["created_at"]), *begun])
    end = _moment(run["finished_at"]) if run.get("finished_at") else now
    bars = tuple(_bar(step, origin, now) for step in steps)
    of_base: dict[str, list[Bar]] = defaultdict(list)
    for bar in bars:
        of_base[bar.base].append(bar)
    nodes = {line.base: _node(line, of_base[line.base]) for line in step_lines(steps)}
    edges = [Edge(edge["source"], edge["target"], edge.get("on", "success")) for edge in _edges(run)]
    for name in run.get("graph", {}).get("nodes", ()):
        nodes.setdefault(name, Node(name, "", "pending", None, None, 0, 1, 0, 0))
    path = critical_path(nodes, edges)
    steps_of_path = set(pairwise(path))
    workflow = run.get("workflow") or {}
    return Portrait(
        run_id=str(run["id"]),
        workflow=f"{workflow.get('name')} {workflow.get('version')}",
        state=run["state"],
        origin=origin.isoformat(),
        span=max([(end - origin).total_seconds(), *(bar.ended or 0.0 for bar in bars)]),
        nodes=tuple(replace(node, critical=node.key in path) for node in nodes.values()),
        edges=tuple(replace(edge, critical=(edge.source, edge.target) in steps_of_path) for edge in edges),
        bars=tuple(
            replace(bar, critical=bar.base in path and _is_last(bar, nodes[bar.base])) for bar in bars
        ),
        critical_path=path,
    )


def critical_path(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> tuple[str, ...]:
    """Return the steps that the end waited for: from the last one back over what each waited longest for."""
    needs: dict[str, list[str]] = {}
    for edge in edges:
        needs.setdefault(edge.target, []).append(edge.source)
    last = max((node for node in nodes.values() if node.began is not None), key=_ended, default=None)
    path: list[str] = []
    while last is not None and last.key not in path:
        path.append(last.key)
        before = (nodes[need] for need in needs.get(last.key, ()) if need in nodes)
        last = max((node for node in before if node.ended is not None), key=_ended, default=None)
    return tuple(reversed(path))


def seconds(value: float) -> str:
    """Return a duration for people: 850 ms, 12.3 s, 4 min 05 s, 2 h 10 min."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < MINUTE:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), MINUTE)
    if minutes < MINUTE:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, MINUTE)
    return f"{hours} h {minutes:02} min"


def _is_last(bar: Bar, node: Node) -> bool:
    """Tell whether it is what the others waited for: the step itself, of a fan the item that ended last."""
    return node.items <= 1 or bar.key in (bar.base, node.last_item)


def _ended(node: Node) -> float:
    return node.ended if node.ended is not None else -1.0


def _edges(run: Document) -> Sequence[Document]:
    found: Sequence[Document] = run.get("graph", {}).get("edges", ())
    return found


def _bar(step: Document, origin: datetime, now: datetime) -> Bar:
    began = _since(step.get("started_at"), origin)
    ended = _since(step.get("finished_at"), origin)
    if began is not None and ended is None:
        ended = (now - origin).total_seconds()
    return Bar(
        key=step["key"],
        base=step["base"],
        operation=step.get("operation") or "",
        state=step["state"],
        began=began,
        ended=max(ended, began) if ended is not None and began is not None else ended,
        tries=int(step.get("tries") or 0),
    )


def _node(line: StepLine, mine: Sequence[Bar]) -> Node:
    items = [bar for bar in mine if bar.key != line.base and bar.ended is not None]
    return Node(
        key=line.base,
        operation=line.operation,
        state=line.state,
        began=min((bar.began for bar in mine if bar.began is not None), default=None),
        ended=max((bar.ended for bar in mine if bar.ended is not None), default=None),
        tries=max(bar.tries for bar in mine),
        items=line.total,
        items_ended=line.ended,
        items_failed=line.failed,
        last_item=max(items, key=lambda bar: bar.ended or 0.0).key if items else None,
    )


def _since(moment: str | None, origin: datetime) -> float | None:
    return None if moment is None else round((_moment(moment) - origin).total_seconds(), 3)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
