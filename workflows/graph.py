"""The dependency graph of a workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class Cycle(ValueError):
    """The graph has a cycle; `path` names it, its first step repeated at the end."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(path))
        self.path = path


@dataclass(frozen=True, slots=True)
class Graph:
    """An acyclic graph: topological order, needs, successors, ancestors as bit masks over that order.

    `reduced_needs` and `reduced_successors` leave out each edge that another path implies.
    """

    order: tuple[str, ...]
    position: Mapping[str, int]
    needs: Mapping[str, tuple[str, ...]]
    successors: Mapping[str, tuple[str, ...]]
    ancestors: Mapping[str, int]
    reduced_needs: Mapping[str, tuple[str, ...]]
    reduced_successors: Mapping[str, tuple[str, ...]]

    def is_ancestor(self, step: str, of: str) -> bool:
        """Tell whether `of` needs `step`, directly or by way of others."""
        return bool(self.ancestors[of] >> self.position[step] & 1)


def build_graph(needs: Mapping[str, Sequence[str]]) -> Graph:
    """Return the graph of steps to their needs, deterministic in the order given; raises Cycle.

    Each need must be a step of the graph.
    """
    order = _topological(needs)
    position = {step: index for index, step in enumerate(order)}
    ancestors: dict[str, int] = {}
    reduced_needs: dict[str, tuple[str, ...]] = {}
    for step in order:
        implied = 0
        for need in needs[step]:
            implied |= ancestors[need]
        direct = sum(1 << position[need] for need in needs[step])
        ancestors[step] = implied | direct
        reduced_needs[step] = tuple(need for need in needs[step] if not implied >> position[need] & 1)
    return Graph(
        order=order,
        position=position,
        needs={step: tuple(needs[step]) for step in order},
        successors=_inverse(order, needs),
        ancestors=ancestors,
        reduced_needs=reduced_needs,
        reduced_successors=_inverse(order, reduced_needs),
    )


def _inverse(order: Sequence[str], needs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    successors: dict[str, list[str]] = {step: [] for step in order}
    for step in order:
        for need in needs[step]:
            successors[need].append(step)
    return {step: tuple(found) for step, found in successors.items()}


def _topological(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Order steps after their needs (Kahn), ties in the order given."""
    missing = {step: len(found) for step, found in needs.items()}
    successors = _inverse(tuple(needs), needs)
    order = [step for step, count in missing.items() if not count]
    for step in order:  # the list grows while it is read: it is the queue
        for successor in successors[step]:
            missing[successor] -= 1
            if not missing[successor]:
                order.append(successor)
    if len(order) < len(needs):
        raise Cycle(_cycle(needs, {step for step, count in missing.items() if count}))
    return tuple(order)


def _cycle(needs: Mapping[str, Sequence[str]], stuck: set[str]) -> tuple[str, ...]:
    """Walk from need to need within the steps that never became free until one comes again."""
    step = next(name for name in needs if name in stuck)
    seen: dict[str, int] = {}
    while step not in seen:
        seen[step] = len(seen)
        step = next(need for need in needs[step] if need in stuck)
    path = list(seen)[seen[step] :]
    path.reverse()  # from a need to the step that needs it, as work would flow
    written = {name: place for place, name in enumerate(needs)}
    first = min(range(len(path)), key=lambda place: written[path[place]])
    return (*path[first:], *path[:first], path[first])
