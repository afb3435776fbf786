"""How often a JSON Schema judges one place of a document, at most: what makes a small schema a long wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

MOST_AT_A_PLACE: Final = 500
"""Subschemas that may judge one place; each place of a document costs as many evaluations."""
MOST_LINKS: Final = 100_000
"""Links from places to what judges them and their members, over the whole schema."""
INTRICATE: Final = "the schema is too intricate"
DEEPEST: Final = 64
"""Levels of a document, as request bodies have them."""

_SAME_ONE: Final = ("not", "if", "then", "else")
_SAME_LIST: Final = ("allOf", "anyOf", "oneOf")
_SAME_MAP: Final = ("dependentSchemas", "dependencies")
_REFERENCES: Final = ("$ref", "$dynamicRef")


class TooCostly(ValueError):
    """The schema would judge a place too often, or says something that cannot be counted."""


def cost_of(schema: Mapping[str, Any]) -> int:
    """Return how many subschemas judge one place of a document, at the worst place.

    Raises TooCostly above `MOST_AT_A_PLACE`, for references that end nowhere or turn in a circle without a
    step into the document, and for an `$id` below the root.
    """
    try:
        return _Schema(schema).cost()
    except RecursionError as deep:
        raise TooCostly(INTRICATE) from deep


@dataclass(frozen=True, slots=True)
class _Group:
    """What judges members of one kind: those without a rule of their own, those of a name or an index.

    A named one is a schema with what judges it instead where its own schema has no such name.
    """

    other: Counter[int] = field(default_factory=Counter)
    named: dict[Any, list[tuple[int, int | None, tuple[int, ...]]]] = field(default_factory=dict)

    def worst(self, costs: Mapping[int, int]) -> int:
        """Return the largest number of evaluations at a member, by what each schema costs there."""
        base = sum(count * costs[key] for key, count in self.other.items())
        return max([base, *(base + _more(named, costs) for named in self.named.values())])


def _more(named: list[tuple[int, int | None, tuple[int, ...]]], costs: Mapping[int, int]) -> int:
    return sum(
        count * ((0 if key is None else costs[key]) - sum(costs[one] for one in instead))
        for count, key, instead in named
    )


class _Schema:
    """Counts over the subschemas that the root reaches; each is known by the identity of its object."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._anchors = dict(_anchors(root))
        self._same: dict[int, Counter[int]] = {}
        self._nodes: dict[int, Mapping[str, Any]] = {}
        self._open: set[int] = set()
        self._links = 0

    def cost(self) -> int:
        """Return the evaluations at the worst place."""
        groups = self._all_groups()
        costs = {key: sum(self._same[key].values()) for key in groups}
        worst = root = costs[id(self._root)]
        for _ in range(DEEPEST):
            deeper = {key: max(group.worst(costs) for group in found) for key, found in groups.items()}
            root = deeper[id(self._root)]
            worst = max(worst, root)
            _check(worst)
            if deeper == costs or not root:
                break
            costs = {key: min(count, MOST_AT_A_PLACE + 1) for key, count in deeper.items()}
        return worst

    def _all_groups(self) -> dict[int, list[_Group]]:
        """Return what judges the members of each place that is reached, by the schema of the place."""
        pending = [self._root]
        groups: dict[int, list[_Group]] = {}
        while pending:
            node = pending.pop()
            if id(node) in groups:
                continue
            objects, arrays, names = groups[id(node)] = [_Group(), _Group(), _Group()]
            for key, count in self._at_place(node).items():
                found = self._nodes[key]
                pending += self._members(found, count, objects)
                pending += self._elements(found, count, arrays)
                pending += self._plain(found, ("propertyNames",), count, names)
        return groups

    def _at_place(self, node: Mapping[str, Any]) -> Counter[int]:
        """Return how often each subschema judges the very place that `node` judges, itself once."""
        key = id(node)
        if key in self._same:
            return self._same[key]
        if key in self._open:
            raise TooCostly("the schema refers to itself without a step into the document")
        if "$id" in node and node is not self._root:
            raise TooCostly("an $id below the root is not supported")
        self._open.add(key)
        self._nodes[key] = node
        found = Counter({key: 1})
        for sub in self._same_place(node):
            found.update(self._at_place(sub))
            _check(sum(found.values()))
        self._count_links(len(found))
        self._open.remove(key)
        self._same[key] = found
        return found

    def _same_place(self, node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        subs = [node.get(name) for name in _SAME_ONE]
        for name in _SAME_LIST:
            subs += node[name] if isinstance(node.get(name), list) else []
        for name in _SAME_MAP:
            subs += node[name].values() if isinstance(node.get(name), Mapping) else []
        subs += [self._target(node[name]) for name in _REFERENCES if isinstance(node.get(name), str)]
        return (sub for sub in subs if isinstance(sub, Mapping))

    def _target(self, reference: str) -> Any:
        fragment = unquote(reference.removeprefix("#"))
        if fragment in self._anchors:
            return self._anchors[fragment]
        found: Any = self._root
        for part in fragment.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, Mapping) and name in found:
                found = found[name]
            else:
                raise TooCostly(f"there is nothing at {reference}")
        if fragment and not fragment.startswith("/"):
            raise TooCostly(f"there is no anchor {reference}")
        return found

    def _members(self, node: Mapping[str, Any], count: int, group: _Group) -> list[Mapping[str, Any]]:
        rest = self._plain(node, ("additionalProperties", "unevaluatedProperties"), count, group)
        instead = tuple(id(one) for one in rest)
        patterns = node.get("patternProperties")
        found = list(patterns.values()) if isinstance(patterns, Mapping) else []
        for sub in found:
            self._link(sub, count, group)
        named = node.get("properties")
        for name, sub in named.items() if isinstance(named, Mapping) else ():
            self._name(name, sub, (count, instead), group)
            found.append(sub)
        return [*rest, *(sub for sub in found if isinstance(sub, Mapping))]

    def _elements(self, node: Mapping[str, Any], count: int, group: _Group) -> list[Mapping[str, Any]]:
        rest = self._plain(node, ("items", "unevaluatedItems"), count, group)
        instead = tuple(id(one) for one in rest)
        each = self._plain(node, ("contains",), count, group)
        first = node.get("prefixItems")
        found = first if isinstance(first, list) else []
        for place, sub in enumerate(found):
            self._name(place, sub, (count, instead), group)
        return [*rest, *each, *(sub for sub in found if isinstance(sub, Mapping))]

    def _plain(
        self, node: Mapping[str, Any], names: tuple[str, ...], count: int, group: _Group
    ) -> list[Mapping[str, Any]]:
        found = [node[name] for name in names if isinstance(node.get(name), Mapping)]
        for sub in found:
            self._link(sub, count, group)
        return found

    def _link(self, sub: Any, count: int, group: _Group) -> None:
        if isinstance(sub, Mapping):
            self._count_links(1)
            group.other[id(sub)] += count

    def _name(self, name: Any, sub: Any, how: tuple[int, tuple[int, ...]], group: _Group) -> None:
        self._count_links(1)
        key = id(sub) if isinstance(sub, Mapping) else None
        group.named.setdefault(name, []).append((how[0], key, how[1]))

    def _count_links(self, number: int) -> None:
        self._links += number
        if self._links > MOST_LINKS:
            raise TooCostly(INTRICATE)


def _anchors(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, Mapping):
            for name in ("$anchor", "$dynamicAnchor"):
                if isinstance(found.get(name), str):
                    yield found[name], found
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)


def _check(count: int) -> None:
    if count > MOST_AT_A_PLACE:
        raise TooCostly(f"the schema judges one place of a document more than {MOST_AT_A_PLACE} times")
