"""The dealing out of ready siblings to as many messages as there are worker processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from workflows.segments import Fork, Segment, Stretch


@dataclass(frozen=True, slots=True)
class Hand:
    """Lines of one queue that share a lot: the first `messages` have messages of their own."""

    lines: tuple[tuple[str, ...], ...]
    messages: int

    @property
    def keys(self) -> Iterator[tuple[str, bool]]:
        """Each step with whether it goes without a message."""
        return ((key, n >= self.messages) for n, line in enumerate(self.lines) for key in line)


def nothing_waits(_key: str) -> bool:
    """No step hands its place on."""
    return False


def deal(
    segments: Sequence[Segment],
    queue_of: Callable[[str], str],
    slots: Callable[[str], int],
    hands_on: Callable[[str], bool] = nothing_waits,
) -> tuple[Hand, ...]:
    """Return the lots: branches of a leading fork, lines that stand alone, where they outnumber the slots.

    `slots` gives the worker processes of a queue, 0 when unknown: then nothing is shared. A line that changes
    its queue keeps its message. Steps that hand a place on, when they end, to another of their fan are of a
    lot in any case: whoever ends one takes that other by it.
    """
    hands: list[Hand] = []
    for lines in _siblings(segments):
        by_queue: dict[str, list[tuple[str, ...]]] = {}
        for line in lines:
            queues = {queue_of(key) for key in line}
            if len(queues) == 1:
                by_queue.setdefault(queues.pop(), []).append(line)
        for queue, found in by_queue.items():
            messages = slots(queue)
            if 0 < messages < len(found):
                hands.append(Hand(tuple(found), messages))
            elif giving := tuple(line for line in found if hands_on(line[0])):
                hands.append(Hand(giving, len(giving)))
    return tuple(hands)


def _siblings(segments: Iterable[Segment]) -> Iterator[Sequence[tuple[str, ...]]]:
    """Yield what may share a lot: each chord's header, and all lines without a chord together."""
    alone = []
    for segment in segments:
        first = segment.stages[0]
        if isinstance(first, Fork):
            yield first.branches
        elif len(segment.stages) == 1:
            alone.append(first.keys)
    yield alone


def with_messages(segments: Iterable[Segment], loose: Collection[str]) -> tuple[Segment, ...]:
    """Return the segments without the lines that are loose."""
    if not loose:
        return tuple(segments)
    return tuple(kept for segment in segments for kept in _kept(segment, loose))


def _kept(segment: Segment, loose: Collection[str]) -> Iterator[Segment]:
    first = segment.stages[0]
    if isinstance(first, Stretch):
        if first.keys[0] not in loose:
            yield segment
        return
    branches = tuple(branch for branch in first.branches if branch[0] not in loose)
    join, *rest = segment.stages[1:]
    if len(branches) > 1:
        yield replace(segment, stages=(Fork(branches), join, *rest))
    elif branches:
        yield replace(segment, stages=(Stretch((*branches[0], *join.keys)), *rest))
