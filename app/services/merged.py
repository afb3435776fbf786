"""One list out of two: what is installed, what the tenant registered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

T = TypeVar("T")
Place = tuple[str, Any]


def merge(
    installed: Sequence[T],
    own: Callable[[Any, int], Sequence[T]],
    wanted: PageRequest,
    place: Callable[[T], Place],
    start: Place,
    name: str | None = None,
) -> Page[T]:
    """Return the page behind the cursor; `installed` is ordered, `own(after, limit)` reads the tenant's rows.

    With `name` the list holds the versions of that name only.
    """
    after = start
    if wanted.after is not None:
        first, second = decode_cursor(wanted.after, 2)
        after = (first, second)
    if name is not None:
        after = max(after, (name, start[1]))
    found = [item for item in installed if place(item) > after]
    found = sorted([*found, *own(after, wanted.limit + 1)], key=place)
    if name is not None:
        found = [item for item in found if place(item)[0] == name]
    items = tuple(found[: wanted.limit])
    more = len(found) > wanted.limit
    return Page(items, encode_cursor(*place(items[-1])) if more else None)
