"""The graph of a run, drawn: as SVG, Mermaid, DOT, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

from app.client import svg
from app.client.layout import Layout, Point, place
from app.client.portrait import Edge, Node, Portrait, seconds

WIDTH: Final = 250.0
HEIGHT: Final = 46.0
BETWEEN: Final = 70.0
MARGIN: Final = 24.0
HEAD: Final = 56.0
_PAD: Final = 12.0
SMALL: Final = 12 / 11
_WORDY: Final = re.compile(r"[^\w .,:()/+*%@=-]")


def graph_svg(portrait: Portrait) -> str:
    """Return the graph as a picture of its own."""
    layout = place(
        [node.key for node in portrait.nodes],
        [(edge.source, edge.target) for edge in portrait.edges],
        width=WIDTH,
        height=HEIGHT,
        between=BETWEEN,
    )
    parts = [
        _arrow_head(),
        svg.text(MARGIN, 24, headline(portrait), "q-ink q-strong"),
        svg.text(MARGIN, 42, subline(portrait), "q-faint q-small"),
        *(_edge(edge, layout) for edge in sorted(portrait.edges, key=lambda edge: edge.critical)),
        *(_node(node, layout.places[node.key]) for node in portrait.nodes),
    ]
    width = max(layout.width, svg.CHARACTER * len(headline(portrait))) + 2 * MARGIN
    return svg.picture(width, layout.height + HEAD + MARGIN, headline(portrait), subline(portrait), parts)


def graph_mermaid(portrait: Portrait) -> str:
    """Return the graph as a Mermaid flow chart."""
    names = {node.key: f"n{number}" for number, node in enumerate(portrait.nodes)}
    lines = ["flowchart LR", f"  %% {_plain(headline(portrait))}"]
    for node in portrait.nodes:
        words = "<br/>".join(_entities(line) for line in _lines(node) if line)
        lines.append(f'  {names[node.key]}["{words}"]:::{svg.known(node.state)}')
    thick = []
    for edge in portrait.edges:
        if edge.source in names and edge.target in names:
            if edge.critical:
                thick.append(len(lines) - 2 - len(names))
            label = "" if edge.on == "success" else f"|{_entities(edge.on)}|"
            lines.append(f"  {names[edge.source]} -->{label} {names[edge.target]}")
    if thick:
        lines.append(f"  linkStyle {','.join(map(str, thick))} stroke-width:3px")
    lines += [f"  classDef {state} stroke:{svg.colour(state)},stroke-width:2px" for state in svg.STATES]
    return "\n".join(lines) + "\n"


def graph_dot(portrait: Portrait) -> str:
    """Return the graph for Graphviz."""
    lines = [
        "digraph run {",
        "  rankdir=LR;",
        f"  label={_quoted(headline(portrait))};",
        '  node [shape=box, style=rounded, fontname="monospace"];',
    ]
    for node in portrait.nodes:
        words = _quoted("\n".join(line for line in _lines(node) if line))
        wide = ", penwidth=2.5" if node.critical else ""
        lines.append(f"  {_quoted(node.key)} [label={words}, color={_quoted(svg.colour(node.state))}{wide}];")
    for edge in portrait.edges:
        given = [f"label={_quoted(edge.on)}"] if edge.on != "success" else []
        given += ["penwidth=2.5"] if edge.critical else []
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{', '.join(given)}];")
    return "\n".join([*lines, "}"]) + "\n"


def graph_json(portrait: Portrait) -> str:
    """Return nodes, edges, the critical path; times are seconds since `origin`."""
    document = {
        **portrait.head(),
        "nodes": [_members(node) for node in portrait.nodes],
        "edges": [_members(edge) for edge in portrait.edges],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


GRAPHS: Final[Mapping[str, Callable[[Portrait], str]]] = {
    "svg": graph_svg,
    "mermaid": graph_mermaid,
    "json": graph_json,
    "dot": graph_dot,
}


def headline(portrait: Portrait) -> str:
    """Return which run it is."""
    return f"{portrait.workflow}: {portrait.state}, run {portrait.run_id}"


def subline(portrait: Portrait) -> str:
    """Return how big it is, how long it took, what its end waited for."""
    words = f"{len(portrait.bars)} steps, {seconds(portrait.span)}"
    if portrait.critical_path:
        words += f"; critical path: {' → '.join(portrait.critical_path)}"
    return words


def _members(value: Node | Edge) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}


def _lines(node: Node) -> tuple[str, str]:
    """Return what stands in the node's box: its name, then what is known of it."""
    parts = [node.operation] if node.operation else []
    if node.items > 1:
        parts.append(f"{node.items_ended}/{node.items}")
    if node.items_failed and node.items > 1:
        parts.append(f"{node.items_failed} failed")
    if node.began is not None and node.ended is not None:
        parts.append(seconds(node.ended - node.began))
    if node.tries > 1:
        parts.append(f"{node.tries} tries")
    return f"{svg.MARKS.get(node.state, '○')} {node.key}", " · ".join(parts)


def _node(node: Node, place_of: Point) -> str:
    x, y = place_of[0] + MARGIN, place_of[1] + HEAD
    name, rest = _lines(node)
    state = svg.known(node.state)
    quiet = " q-dashed" if state in ("pending", "skipped", "cancelled") else ""
    thick = " q-critical" if node.critical else ""
    told = f"{node.key}: {node.state}. {rest}" + (". On the critical path." if node.critical else "")
    box = {"x": svg.num(x), "y": svg.num(y), "width": svg.num(WIDTH), "height": svg.num(HEIGHT), "rx": "8"}
    return svg.element(
        "g",
        {},
        svg.title(told),
        svg.element("rect", {**box, "class": "q-paper"}),
        svg.element("rect", {**box, "class": f"q-box q-{state}{quiet}{thick}"}),
        svg.text(x + _PAD, y + 19, svg.cut(name, WIDTH - 2 * _PAD), "q-ink q-strong"),
        svg.text(x + _PAD, y + 36, svg.cut(rest, (WIDTH - 2 * _PAD) * SMALL), "q-faint q-small"),
    )


def _edge(edge: Edge, layout: Layout) -> str:
    if (edge.source, edge.target) not in layout.bends:
        return ""
    (x, y), (to_x, to_y) = layout.places[edge.source], layout.places[edge.target]
    points = [
        (x + WIDTH, y + HEIGHT / 2),
        *layout.bends[edge.source, edge.target],
        (to_x - 7, to_y + HEIGHT / 2),
    ]
    moved = [(x + MARGIN, y + HEAD) for x, y in points]
    path = f"M{svg.num(moved[0][0])} {svg.num(moved[0][1])}"
    for (x, y), (to_x, to_y) in pairwise(moved):
        middle = svg.num((x + to_x) / 2)
        path += f"C{middle} {svg.num(y)} {middle} {svg.num(to_y)} {svg.num(to_x)} {svg.num(to_y)}"
    style = (
        "q-edge" + (" q-critical" if edge.critical else "") + (" q-dashed" if edge.on != "success" else "")
    )
    told = f"{edge.target} needs {edge.source}" + (f" ({edge.on})" if edge.on != "success" else "")
    return svg.element("path", {"class": style, "d": path, "marker-end": "url(#q-head)"}, svg.title(told))


def _arrow_head() -> str:
    tip = svg.element("path", {"class": "q-tip", "d": "M0 0L7 3.5L0 7Z"})
    size = {"markerWidth": "7", "markerHeight": "7", "markerUnits": "userSpaceOnUse"}
    return svg.element(
        "defs",
        {},
        svg.element("marker", {"id": "q-head", "refX": "0", "refY": "3.5", **size, "orient": "auto"}, tip),
    )


def _entities(words: str) -> str:
    """Return words for a label of Mermaid, which reads quotes, brackets or tags in it as its own."""
    return _WORDY.sub(lambda found: f"#{ord(found[0])};", words)


def _plain(words: str) -> str:
    return _WORDY.sub(" ", words)


def _quoted(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
