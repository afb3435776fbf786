"""Which events a reader of the live feed wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.errors import InvalidInput
from app.domain.events import EVENT_TYPES, PREFIX, Event

MOST_TYPES: Final = 20
LONGEST_SUBJECT: Final = 200


@dataclass(frozen=True, slots=True)
class Interest:
    """Types are whole names, families beginnings that end with a dot; none of both means every type."""

    types: frozenset[str] = frozenset()
    families: tuple[str, ...] = ()
    subject: str | None = None

    def wants(self, event: Event) -> bool:
        """Tell whether the reader is to get the event."""
        if self.subject is not None and event.subject != self.subject:
            return False
        every = not self.types and not self.families
        return every or event.type in self.types or event.type.startswith(self.families)


def interest_of(types: Sequence[str], subject: str | None) -> Interest:
    """Return the interest in types such as `run.failed` or `run.*`, with or without `io.quantum.` before.

    Raises InvalidInput for a type that the platform never writes: its reader would wait for ever.
    """
    if len(types) > MOST_TYPES:
        raise InvalidInput.at("/query/type", "too_many", f"at most {MOST_TYPES} types")
    if subject is not None and not 1 <= len(subject) <= LONGEST_SUBJECT:
        raise InvalidInput.at("/query/subject", "length", f"a subject has 1 to {LONGEST_SUBJECT} characters")
    whole, families = set(), []
    for given in types:
        name = given if given.startswith(PREFIX) else PREFIX + given
        if name.endswith(".*") and any(each.startswith(name[:-1]) for each in EVENT_TYPES):
            families.append(name[:-1])
        elif name in EVENT_TYPES:
            whole.add(name)
        else:
            raise InvalidInput.at("/query/type", "unknown_type", "no event has this type: see docs/events.md")
    return Interest(frozenset(whole), tuple(families), subject)
