"""What an expression costs on the data at hand: CEL counts its iterations, not what one of them looks at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workflows.cel_tokens import MACROS, Token, tokens_of

ITERATIONS = 10_000
"""CEL's own bound of the iterations of one evaluation."""
MOST_VALUES = 20_000_000
"""Values that one evaluation may look at: lists are compared at some 30 ns a value."""
MOST_CHARACTERS = 1_000_000_000
MOST_JOINED_VALUES = 1_000_000
"""Values in the lists that `+` makes, those in between too: each takes some 200 bytes until the end."""
MOST_JOINED_CHARACTERS = 256_000_000
FEW_PLUSES = 3
FEW_USES = 8
"""Up to so many, without a macro, an expression costs little more than its data did."""

ANY = None
"""The place in a path where an index is computed."""

Path = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """A place of the data that an expression names, within so many macros.

    `element` tells whether the expression may make a list of it, over which it then loops.
    """

    path: Path
    depth: int
    element: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What can be told of an expression's cost before there is data.

    `items` are the depths at which the variables of macros are used, `longest` is the length of the longest
    list that the expression makes by itself.
    """

    uses: tuple[Use, ...]
    items: tuple[int, ...]
    pluses: int
    macros: int
    longest: int

    @property
    def cheap(self) -> bool:
        """Whether no data makes it cost much."""
        return not self.macros and self.pluses <= FEW_PLUSES and len(self.uses) <= FEW_USES


PLAIN = Shape((), (), 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Size:
    """What a value holds; of the lists and objects in it the greatest length, the greatest element."""

    values: int = 1
    characters: int = 0
    longest: int = 0
    element_values: int = 1
    element_characters: int = 0


_SCALAR = _Size()


class TooMuchWork(ValueError):
    """The expression would look at too much, or make too much, of the data that it is given."""


def shape_of(source: str, roots: Collection[str], longest_range: int) -> Shape:
    """Return what a CEL text says about its cost; `range` gives lists of `longest_range` at most."""
    words = list(tokens_of(source))
    reading = _Reading(words)
    for at, word in enumerate(words):
        reading.take(at, word, roots)
    texts = [word.text for word in words]
    ranges = longest_range if "range" in texts else 0
    macros = sum(word.kind == "name" and word.text in MACROS for word in words)
    longest = max(ranges, texts.count(",") + 1)
    return Shape(tuple(reading.uses), tuple(reading.items), texts.count("+"), macros, longest)


class _Reading:
    """Where the words of an expression stand: within which macros, within which lists."""

    def __init__(self, words: Sequence[Token]) -> None:
        self.uses: list[Use] = []
        self.items: list[int] = []
        self._words = words
        self._variables: set[str] = set()
        self._opened: list[str] = []

    def take(self, at: int, word: Token, roots: Collection[str]) -> None:
        before = self._words[at - 1] if at else Token("mark", "")
        if word.text in ("(", "[", "{"):
            self._open(at, word, before)
        elif word.text in (")", "]", "}"):
            del self._opened[-1:]
        elif before.text != ".":
            depth = self._opened.count("body")
            if word.kind == "step" or (word.kind == "name" and word.text in roots):
                element = depth > 0 or "list" in self._opened
                self.uses.append(Use(_path(self._words, at), depth, element))
            if word.kind == "name" and word.text in self._variables:
                self.items.append(depth)

    def _open(self, at: int, word: Token, before: Token) -> None:
        kind = "other"
        if word.text == "(" and before.text in MACROS and at > 1 and self._words[at - 2].text == ".":
            kind = "body"
            self._variables.update(following.text for following in self._words[at + 1 : at + 2])
        elif word.text == "[" and before.kind == "mark" and before.text not in (")", "]", "}"):
            kind = "list"
        self._opened.append(kind)


def check_work(shape: Shape, context: Mapping[str, Any]) -> None:
    """Raise TooMuchWork for an expression that would take seconds, or gigabytes, on this data."""
    if shape.cheap:
        return
    sizes = _Sizes(context)
    named = [(use, size) for use in shape.uses if (size := sizes.at(use.path)) is not None]
    longest = max([shape.longest, *(size.longest for _, size in named)])
    turns = [min(ITERATIONS, longest**depth) for depth in range(max(_depths(shape)) + 1)]
    held = [size for use, size in named if use.element]
    element_values = max([1, *(size.element_values for _, size in named), *(size.values for size in held)])
    element_characters = max(
        [0, *(size.element_characters for _, size in named), *(size.characters for size in held)]
    )
    values = sum(size.values * turns[use.depth] for use, size in named)
    characters = sum(size.characters * turns[use.depth] for use, size in named)
    values += sum(element_values * turns[depth] for depth in shape.items)
    characters += sum(element_characters * turns[depth] for depth in shape.items)
    if values > MOST_VALUES or characters > MOST_CHARACTERS:
        raise TooMuchWork(
            "it would look at too much data: take less of it, or fewer macros within each other"
        )
    # Within macros `+` joins texts only, as a literal stands beside each.
    joined = 0 if shape.macros else values * shape.pluses
    if joined > MOST_JOINED_VALUES or characters * shape.pluses > MOST_JOINED_CHARACTERS:
        raise TooMuchWork("it would join too much data: take less of it, or fewer +")


def _depths(shape: Shape) -> Iterator[int]:
    yield 0
    yield from shape.items
    yield from (use.depth for use in shape.uses)


def _path(words: Sequence[Token], at: int) -> Path:
    """Return the path that begins at a word, as far as it can be told: to the first computed index."""
    word = words[at]
    path: list[str | int | None] = ["steps", word.id, word.part] if word.kind == "step" else [word.text]
    at += 1
    while at + 1 < len(words):
        mark, member = words[at].text, words[at + 1]
        after = words[at + 2].text if at + 2 < len(words) else ""
        if mark == "." and member.kind == "name" and after != "(":
            path.append(member.text)
            at += 2
        elif mark == "[" and member.literal and after == "]":
            path.append(_literal(member))
            at += 3
        elif mark == "[":
            return (*path, ANY)
        else:
            break
    return tuple(path)


def _literal(word: Token) -> str | int | None:
    if word.text.isdecimal():
        return int(word.text)
    plain = word.kind == "string" and word.text[0] in "\"'" and "\\" not in word.text
    return word.text[1:-1] if plain and word.text[:3] not in ('"""', "'''") else ANY


class _Sizes:
    """The sizes of the data that one expression names, each looked at once."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._context = context
        self._known: dict[int, _Size] = {}

    def at(self, path: Path) -> _Size | None:
        """Return the size of what stands there, of the largest that a computed index may give, or None."""
        value: Any = self._context
        for name in path:
            if name is ANY:
                members = value.values() if isinstance(value, Mapping) else value
                found = [self._of(member) for member in members] if isinstance(value, Mapping | list) else []
                return max(found, key=lambda size: size.values + size.characters, default=None)
            there = name in value if isinstance(value, Mapping) else _has(value, name)
            if not there:
                return None
            value = value[name]
        return self._of(value)

    def _of(self, value: Any) -> _Size:
        if isinstance(value, str):
            return _Size(1, len(value))
        if not isinstance(value, Mapping | list):
            return _SCALAR
        if id(value) not in self._known:
            self._known[id(value)] = self._list(value) if isinstance(value, list) else self._object(value)
        return self._known[id(value)]

    def _list(self, value: Sequence[Any]) -> _Size:
        members = self._members(value)
        whole = _together(members, len(value), 0)
        return replace(
            whole,
            element_values=max([whole.element_values, *(size.values for size in members)]),
            element_characters=max([whole.element_characters, *(size.characters for size in members)]),
        )

    def _object(self, value: Mapping[str, Any]) -> _Size:
        whole = _together(self._members(value.values()), len(value), sum(map(len, value)))
        keys = max(map(len, value), default=0)  # what a macro takes of an object, one by one
        return replace(whole, element_characters=max(whole.element_characters, keys))

    def _members(self, values: Iterable[Any]) -> list[_Size]:
        return [self._of(value) for value in values]


def _together(members: Sequence[_Size], length: int, characters: int) -> _Size:
    return _Size(
        1 + sum(size.values for size in members),
        characters + sum(size.characters for size in members),
        max([length, *(size.longest for size in members)]),
        max((size.element_values for size in members), default=1),
        max((size.element_characters for size in members), default=0),
    )


def _has(value: Any, name: str | int) -> bool:
    return isinstance(value, list) and isinstance(name, int) and name < len(value)
