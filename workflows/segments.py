"""The cut of a graph into segments that one Celery canvas each can carry."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from workflows.graph import Graph

MAX_HEADER = 500
MAX_STRETCH = 64
MAX_CARRIED = 4
"""A fork with more branches is no part of a longer canvas: they are dealt out when they are ready, to as many
messages as there are worker processes then."""
# A message carries what follows it, and each header task of a chord carries the chord's body: this
# bounds the signatures of one canvas, chords after chords multiply them.
MAX_SIGNATURES = 2_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Step keys one after the other."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """Linear branches side by side; the stage after it joins them all."""

    branches: tuple[tuple[str, ...], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all branches, branch by branch."""
        return tuple(key for branch in self.branches for key in branch)


Stage = Stretch | Fork


@dataclass(frozen=True, slots=True)
class Segment:
    """What one canvas carries: `carrier` is the seq of its first step, so segments alive at once differ."""

    carrier: int
    stages: tuple[Stage, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The step keys that the canvas carries, in order."""
        return tuple(key for stage in self.stages for key in stage.keys)


@dataclass(frozen=True, slots=True)
class ReadyStep:
    """A ready, unsent step; `item` is its place in the fan `base`, None for a plain step."""

    key: str
    base: str
    item: int | None = None


class Planned(Protocol):
    """What a plan says about its shape."""

    @property
    def graph(self) -> Graph:
        """The dependencies on success."""

    @property
    def fans(self) -> AbstractSet[str]:
        """The steps that no message carries."""

    @property
    def conditional(self) -> AbstractSet[str]:
        """The steps that need an outcome other than success."""


def segments_for(
    plan: Planned, ready: Sequence[ReadyStep], item_counts: Mapping[str, int] | None = None
) -> tuple[Segment, ...]:
    """Return the segments to send now, in the plan's order; see `segments_of`."""
    return segments_of(plan.graph, plan.fans, ready, item_counts or {}, plan.conditional)


def segments_of_roots(
    graph: Graph, fans: AbstractSet[str], conditional: AbstractSet[str] = frozenset()
) -> tuple[Segment, ...]:
    """Return the segments that start a run: those of the steps without needs."""
    roots = [step for step in graph.order if not graph.needs[step] and step not in conditional]
    return segments_of(graph, fans, [ReadyStep(step, step) for step in roots], {}, conditional)


def segments_of(
    graph: Graph,
    fans: AbstractSet[str],
    ready: Iterable[ReadyStep],
    item_counts: Mapping[str, int],
    conditional: AbstractSet[str] = frozenset(),
) -> tuple[Segment, ...]:
    """Return segments that carry each ready step once, and what can follow it without a needless barrier.

    `item_counts` gives the number of items of each expanded fan. A fan itself is expanded, not carried. What
    is `conditional` travels at the head of a segment only: `graph` lacks its edges, the transaction releases
    it.
    """
    heads = [step.base for step in ready if step.item is None and step.base not in fans]
    planner = _Planner(graph, frozenset(fans).union(heads, conditional))
    items: dict[str, list[ReadyStep]] = {}
    for step in ready:
        if step.item is not None:
            items.setdefault(step.base, []).append(step)
    segments = planner.of_heads(sorted(heads, key=graph.position.__getitem__))
    for base in sorted(items, key=graph.position.__getitem__):
        found = sorted(items[base], key=lambda step: step.item or 0)
        segments += planner.of_items(base, [step.key for step in found], item_counts.get(base, 0))
    return tuple(segments)


def narrow(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Cut segments so that never more of their steps are ready at once than at their head."""
    return tuple(Segment(segment.carrier, _narrowed(segment.stages)) for segment in segments)


def _narrowed(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    forks = (index for index, stage in enumerate(stages) if index and isinstance(stage, Fork))
    return stages[: next(forks, len(stages))]


def restrict(segments: Iterable[Segment], keys: Container[str]) -> tuple[Segment, ...]:
    """Cut segments so that they carry only `keys`: nothing runs after a step that was left out."""
    return tuple(cut for segment in segments for cut in _restricted(segment, keys))


def _restricted(segment: Segment, keys: Container[str]) -> list[Segment]:
    kept: list[Stage] = []
    for stage in segment.stages:
        if all(key in keys for key in stage.keys):
            kept.append(stage)
            continue
        if isinstance(stage, Stretch):
            prefix = _prefix(stage.keys, keys)
            if prefix:
                kept.append(Stretch(prefix))
        elif not kept:
            prefixes = (_prefix(branch, keys) for branch in stage.branches)
            return [Segment(segment.carrier, (Stretch(prefix),)) for prefix in prefixes if prefix]
        break
    # A fork that lost its join is no chord: its branches are released one by one by the transaction.
    last = kept[-1] if kept else None
    if isinstance(last, Fork):
        kept.pop()
        if not kept:
            return [Segment(segment.carrier, (Stretch(branch),)) for branch in last.branches]
    return [Segment(segment.carrier, tuple(kept))] if kept else []


def _prefix(branch: Sequence[str], keys: Container[str]) -> tuple[str, ...]:
    for index, key in enumerate(branch):
        if key not in keys:
            return tuple(branch[:index])
    return tuple(branch)


class _Planner:
    """Grows segments over the graph without the edges that other paths imply.

    `barred` steps are never carried behind another: fans, waits, what needs another outcome than success,
    what is ready by itself. A ready step can stand behind another one, after a retry of a step whose failure
    its successors had passed over.
    """

    def __init__(self, graph: Graph, barred: AbstractSet[str]) -> None:
        self._graph = graph
        self._barred = barred

    def of_heads(self, heads: Sequence[str]) -> list[Segment]:
        """Ready steps: those that one exclusive join gathers travel as one chord."""
        lines = {head: self._line(head) for head in heads}
        joined = self._joins(lines)
        segments, done = [], set()
        for head in heads:
            join = joined.get(head)
            if join is None:
                segments.append(Segment(self._graph.position[head], self._grow([head], 1)))
            elif join not in done:
                done.add(join)
                branches = tuple(lines[other] for other in heads if joined.get(other) == join)
                stages = (Fork(branches), *self._grow([join], len(branches)))
                segments.append(Segment(self._graph.position[head], stages))
        return segments

    def of_items(self, base: str, keys: Sequence[str], count: int) -> list[Segment]:
        """Items of a fan: a chord when all are here and one plain step needs the fan and nothing else."""
        carrier = self._graph.position[base]
        successor = self._sole(self._graph.reduced_successors[base])
        exclusive = (
            successor is not None
            and successor not in self._barred
            and self._graph.reduced_needs[successor] == (base,)
        )
        if successor is None or not exclusive or len(keys) != count or count > MAX_HEADER:
            return [Segment(carrier, (Stretch((key,)),)) for key in keys]
        body = self._grow([successor], len(keys))
        if len(keys) == 1 and isinstance(body[0], Stretch):
            return [Segment(carrier, (Stretch((*keys, *body[0].keys)), *body[1:]))]
        return [Segment(carrier, (Fork(tuple((key,) for key in keys)), *body))]

    def _joins(self, lines: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Map each head to the join that gathers its line, where all of the join's needs are line ends."""
        ends = {line[-1]: head for head, line in lines.items()}
        joined: dict[str, str] = {}
        seen: set[str] = set()
        for end in ends:
            join = self._sole(self._graph.reduced_successors[end])
            if join is None or join in self._barred or join in seen:
                continue
            seen.add(join)
            needs = self._graph.reduced_needs[join]
            exclusive = all(
                need in ends and self._graph.reduced_successors[need] == (join,) for need in needs
            )
            if exclusive and 1 < len(needs) <= MAX_HEADER:
                joined.update({ends[need]: join for need in needs})
        return joined

    def _grow(self, stretch: list[str], weight: int) -> tuple[Stage, ...]:
        """Follow the graph from a step; `weight` is the number of header tasks that carry what is grown."""
        stages: list[Stage] = []
        carried = len(stretch)
        while True:
            at = stretch[-1]
            follower = self._follower(at)
            if follower is not None:
                if len(stretch) >= MAX_STRETCH or weight * (carried + 1) > MAX_SIGNATURES:
                    break
                stretch.append(follower)
                carried += 1
                continue
            fork, join = self._fork(at)
            if join is None or weight * (carried + len(fork.keys) * 2) > MAX_SIGNATURES:
                break
            stages += [Stretch(tuple(stretch)), fork]
            weight, carried, stretch = weight * len(fork.branches), 1, [join]
        return (*stages, Stretch(tuple(stretch)))

    def _fork(self, at: str) -> tuple[Fork, str | None]:
        """Return the branches after `at` and the plain step that joins exactly them, if there is one."""
        starts = self._graph.reduced_successors[at]
        if not 1 < len(starts) <= MAX_CARRIED:
            return Fork(()), None
        if any(start in self._barred or self._graph.reduced_needs[start] != (at,) for start in starts):
            return Fork(()), None
        lines = {start: self._line(start) for start in starts}
        joined = self._joins(lines)
        joins = {joined.get(start) for start in starts}
        join = joins.pop()
        if joins or join is None or len(self._graph.reduced_needs[join]) != len(starts):
            return Fork(()), None
        return Fork(tuple(lines.values())), join

    def _line(self, head: str) -> tuple[str, ...]:
        line = [head]
        while len(line) < MAX_STRETCH and (follower := self._follower(line[-1])) is not None:
            line.append(follower)
        return tuple(line)

    def _follower(self, step: str) -> str | None:
        """Return the plain step that needs `step` alone, where nothing else needs `step`."""
        successor = self._sole(self._graph.reduced_successors[step])
        if successor is None or successor in self._barred or self._graph.reduced_needs[successor] != (step,):
            return None
        return successor

    @staticmethod
    def _sole(steps: Sequence[str]) -> str | None:
        return steps[0] if len(steps) == 1 else None
