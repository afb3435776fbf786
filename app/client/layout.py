"""Places for the nodes of a graph: layers from left to right, few crossings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.client.progress import depths

SWEEPS = 4
MOST_BENDS = 20_000
GAP = 18.0
BEND_HEIGHT = 6.0

Point = tuple[float, float]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each node's left top corner is, and over which points each edge goes; `layer` by node."""

    places: Mapping[str, Point]
    bends: Mapping[Pair, tuple[Point, ...]]
    layer: Mapping[str, int]
    width: float
    height: float


def place(
    nodes: Sequence[str], edges: Iterable[Pair], *, width: float, height: float, between: float
) -> Layout:
    """Place nodes of one size; an edge over several layers bends around what stands between."""
    known = set(nodes)
    pairs = [pair for pair in dict.fromkeys(edges) if pair[0] in known and pair[1] in known]
    needs: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in pairs:
        needs[target].append(source)
    layer = depths(needs)
    chains = _chains(pairs, layer)
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        columns[layer[node]].append(node)
    for chain in chains.values():
        for step, bend in enumerate(chain[1:-1], layer[chain[0]] + 1):
            columns[step].append(bend)
    links = [link for chain in chains.values() for link in pairwise(chain)]
    _untangle(columns, links)
    sizes = {name: height if name in known else BEND_HEIGHT for column in columns for name in column}
    tallest = max((_height(column, sizes) for column in columns), default=0.0)
    places: dict[str, Point] = {}
    for number, column in enumerate(columns):
        top = (tallest - _height(column, sizes)) / 2
        for name in column:
            places[name] = (number * (width + between), top)
            top += sizes[name] + GAP
    bends = {
        pair: tuple((places[bend][0] + width / 2, places[bend][1] + BEND_HEIGHT / 2) for bend in chain[1:-1])
        for pair, chain in chains.items()
    }
    total = len(columns) * width + max(0, len(columns) - 1) * between
    return Layout({node: places[node] for node in nodes}, bends, layer, total, tallest)


def _chains(pairs: Sequence[Pair], layer: Mapping[str, int]) -> dict[Pair, tuple[str, ...]]:
    """Return each edge as the names it goes over: a bend in every layer between, if that are not too many."""
    bends = sum(max(0, layer[target] - layer[source] - 1) for source, target in pairs)
    if bends > MOST_BENDS:
        return {pair: pair for pair in pairs}
    return {
        (source, target): (
            source,
            # A blank cannot stand in a node's name that came from a definition; the pair keeps bends apart.
            *(f"{source} {target} {step}" for step in range(layer[source] + 1, layer[target])),
            target,
        )
        for source, target in pairs
    }


def _untangle(columns: list[list[str]], links: Sequence[Pair]) -> None:
    """Order each column by where its neighbours stand, to and fro."""
    before: dict[str, list[str]] = {}
    behind: dict[str, list[str]] = {}
    for source, target in links:
        before.setdefault(target, []).append(source)
        behind.setdefault(source, []).append(target)
    at = {name: float(row) for column in columns for row, name in enumerate(column)}
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else behind
        for column in columns if sweep % 2 == 0 else reversed(columns):
            middle = {
                name: sum(at[other] for other in neighbours[name]) / len(neighbours[name])
                if name in neighbours
                else at[name]
                for name in column
            }
            column.sort(key=lambda name: middle[name])
            shift = (len(column) - 1) / 2
            at.update({name: row - shift for row, name in enumerate(column)})


def _height(column: Sequence[str], sizes: Mapping[str, float]) -> float:
    return sum(sizes[name] for name in column) + GAP * max(0, len(column) - 1)
