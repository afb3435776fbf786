"""A mutant: one small break of the code with the test that must notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands exactly once in `file`; with `new` in its place the named test must fail."""

    name: str
    """What is broken, in a few words: `no lock at the join`."""
    file: str
    """Path from the root of the tree."""
    old: str
    new: str
    test: str
    """A pytest node id, as `tests/unit/x/test_y.py::test_z`."""


class StaleMutant(Exception):
    """The mutant no longer fits the code: its text is gone, or stands there more than once."""


def mutate(text: str, mutant: Mutant) -> str:
    """Return the text of the file with the break in it; raises `StaleMutant`."""
    count = text.count(mutant.old)
    if count != 1:
        raise StaleMutant(f"{mutant.name}: its text stands {count} times in {mutant.file}")
    if mutant.old == mutant.new:
        raise StaleMutant(f"{mutant.name}: changes nothing")
    return text.replace(mutant.old, mutant.new)
