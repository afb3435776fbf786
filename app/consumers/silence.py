"""The watch over a receiver that goes silent: told by what waits for it, not by its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


class ReceiverSilent(Exception):
    """Receivers were begun anew several times, and none brought an event though some wait."""


@dataclass(slots=True)
class Silence:
    """Tells which partitions are silent: events wait, none came for `silence_s`; `clock` counts seconds.

    The SDK retries a link that is refused, for an unknown group or a bad checkpoint, without a word; so
    neither its errors nor its callbacks without events show that it lives.
    """

    silence_s: float
    clock: Callable[[], float]
    _seen: dict[str, int] = field(default_factory=dict)
    """The sequence number of the last event of each partition that was read, or that its checkpoint names."""
    _since: dict[str, float] = field(default_factory=dict)
    """When each partition that is read here last showed that it lives."""

    def known(self, partition: str, sequence: int) -> None:
        """Note where a checkpoint stands."""
        self._seen[partition] = max(sequence, self._seen.get(partition, -1))

    def began(self, partition: str) -> None:
        """Note that the partition is read here from now on."""
        self._since[partition] = self.clock()

    def ended(self, partition: str) -> None:
        """Note that the partition is not read here any more."""
        self._since.pop(partition, None)

    def heard(self, partition: str, sequence: int) -> None:
        """Note an event."""
        self._seen[partition] = sequence
        self._since[partition] = self.clock()

    def partitions(self) -> Iterable[str]:
        """Return the partitions that are read here."""
        return tuple(self._since)

    def silent(self, last: Mapping[str, int]) -> list[str]:
        """Return the partitions with events behind what was read, `last` being the last of each, none of
        which came for too long. One that has nothing to tell is well."""
        found = []
        for partition, sequence in last.items():
            if partition not in self._since:
                continue
            if sequence <= self._seen.get(partition, -1):
                self._since[partition] = self.clock()
            elif self.clock() - self._since[partition] >= self.silence_s:
                found.append(partition)
        return found
