"""CEL expressions with bounded cost over `spec`, `steps.<id>.output`, `run`, `item`, `index`, or `event`."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

from workflows.cel_cost import PLAIN, Shape, TooMuchWork, check_work, shape_of
from workflows.cel_tokens import BUILDERS, MACROS, tokens_of

MAX_EXPRESSION = 2_000
# Macros loop, `+` joins: lists joined in a loop would fill the memory within CEL's own iteration budget. So
# both are few together, and each `+` beside a macro has a literal next to it, which no list can have.
MAX_MACROS = 3
MAX_PLUSES_WITH_MACROS = 8
MAX_RANGE = 10_000
# CEL's map and filter copy their result for each item: 9,000 items take 1.3 GB, 2,000 take 65 MB.
MAX_MAPPED = 2_000
MAX_RESULT_VALUES = 100_000
MAX_RESULT_CHARACTERS = 8_000_000

_RANGE_LEFT: ContextVar[int] = ContextVar("_RANGE_LEFT", default=0)
_ROOTS = ("spec", "steps", "run")
_ITEM_ROOTS = (*_ROOTS, "item", "index")
_UNDO_ROOTS = ("input", "output")  # of the step that is compensated
_EVENT_ROOTS = ("event",)  # of what a trigger heard, alone
_ALL_ROOTS = (*_ITEM_ROOTS, *_UNDO_ROOTS, *_EVENT_ROOTS)
_PATH = re.compile(r"[a-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_OPERAND_ENDS = frozenset({"operand", "literal", ")", "]", "}", "`"})
_KEYWORDS = frozenset({"true", "false", "null", "in"})


class ExpressionError(ValueError):
    """An expression that does not compile, fails, or costs too much."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Compiled CEL: `refs` are the step ids it reads, `path` the members when it is a plain path.

    `builds` tells whether it makes lists with map or filter, `shape` what it may cost.
    """

    source: str
    refs: frozenset[str]
    uses_spec: bool
    builds: bool
    path: tuple[str, ...] | None
    shape: Shape
    program: Any = field(compare=False, repr=False)

    @property
    def gives(self) -> str | None:
        """The type of its value in CEL's words, such as bool, list<int>; None when the data decides."""
        if self.program is None:
            return None
        name: str = self.program.return_type().name().lower()
        return None if name == "dyn" else name


class Scope:
    """The values that expressions of one step see; converted for CEL at most once."""

    __slots__ = ("_activation", "_context")

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._context = context
        self._activation: Any = None

    def evaluate(self, expression: Expression) -> Any:
        """Return the JSON value of `expression`; raises ExpressionError."""
        if expression.path is not None:
            return self._member(expression)
        try:
            check_work(expression.shape, self._context)
        except TooMuchWork as error:
            raise ExpressionError(f"{expression.source}: {error}") from error
        if self._activation is None:
            present = {name: self._context[name] for name in _ALL_ROOTS if name in self._context}
            self._activation = _environment(_ALL_ROOTS).Activation(present)
        if expression.builds:
            _check_lists(expression.source, [self._context.get(name) for name in _roots_read(expression)])
        _RANGE_LEFT.set(MAX_MAPPED if expression.builds else MAX_RANGE)
        try:
            value = expression.program.eval(self._activation)
            return _Json().convert(value)
        except RuntimeError as error:
            raise ExpressionError(f"{expression.source}: {str(error)[:300]}") from error

    def _member(self, expression: Expression) -> Any:
        value: Any = self._context
        for name in expression.path or ():
            if not isinstance(value, Mapping) or name not in value:
                kind = "an absent key" if isinstance(value, Mapping) else "a member of no object"
                raise ExpressionError(f"{expression.source}: {name!r} is {kind}")
            value = value[name]
        return value


@lru_cache(maxsize=8_192)
def compile_expression(source: str, item: bool, undo: bool = False, event: bool = False) -> Expression:
    """Compile CEL text; raises ExpressionError.

    `item` tells whether `item` and `index` exist, `undo` whether `input` and `output` do; `event`, that
    nothing but `event` does.
    """
    if not source.strip():
        raise ExpressionError("the expression is empty")
    if len(source) > MAX_EXPRESSION:
        raise ExpressionError(f"longer than {MAX_EXPRESSION} characters")
    refs, builds = _read(source)
    uses_spec = "spec" in source
    roots = (*(_ITEM_ROOTS if item else _ROOTS), *(_UNDO_ROOTS if undo else ()))
    if event:
        roots = _EVENT_ROOTS
    # Most expressions are a plain path: walking it copies nothing, CEL would convert the whole root.
    if _PATH.fullmatch(source) and source not in _KEYWORDS:
        path = tuple(source.split("."))
        if path[0] not in roots:
            raise ExpressionError(f"undeclared reference to {path[0]!r}; known are {', '.join(roots)}")
        return Expression(source, refs, uses_spec, False, path, PLAIN, None)
    try:
        program = _environment(roots).compile(source)
    except RuntimeError as error:
        raise ExpressionError(_first_line(str(error))) from error
    shape = shape_of(source, _ALL_ROOTS, MAX_MAPPED if builds else MAX_RANGE)
    return Expression(source, refs, uses_spec, builds, None, shape, program)


@lru_cache(maxsize=8)
def _environment(roots: tuple[str, ...]) -> Any:
    numbers = cel.Type.List(cel.Type.INT)
    overload = cel.Overload("range_int", return_type=numbers, parameters=[cel.Type.INT], impl=_range)
    variables = dict.fromkeys(roots, cel.Type.DYN)
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("range", [overload])])


def _range(count: int) -> list[int]:
    """Return 0..count-1; CEL's budget counts iterations only, so one evaluation shares one allowance."""
    left = _RANGE_LEFT.get() - max(count, 0)
    if count < 0 or left < 0:
        raise ValueError(
            f"range gives 0..{MAX_RANGE} numbers in one expression, 0..{MAX_MAPPED} beside map or filter"
        )
    _RANGE_LEFT.set(left)
    return list(range(count))


def _roots_read(expression: Expression) -> list[str]:
    roots = {"spec": expression.uses_spec, "steps": expression.refs}
    roots |= {name: name in expression.source for name in ("item", *_UNDO_ROOTS, *_EVENT_ROOTS)}
    return [name for name, read in roots.items() if read]


def _check_lists(source: str, values: list[Any]) -> None:
    """Refuse data with a list that map or filter could not take in within the memory of a worker."""
    pending = values
    while pending:
        value = pending.pop()
        if not isinstance(value, (list, Mapping)):
            continue
        if len(value) > MAX_MAPPED:
            raise ExpressionError(f"{source}: map and filter take {MAX_MAPPED} items, not {len(value)}")
        pending.extend(value.values() if isinstance(value, Mapping) else value)


def _read(source: str) -> tuple[frozenset[str], bool]:
    """Return the step ids, and whether lists are built.

    Refuses a use of `steps` that is not static, and growth without bound.
    """
    refs = set()
    builds = False
    macros = pluses = 0
    joins_unknown = False
    before = ""
    for token in tokens_of(source):
        kind, text, literal = token.kind, token.text, token.literal
        if kind == "step" and before != ".":
            refs.add(token.id)
        elif kind == "name" and text == "steps" and before != ".":
            raise ExpressionError("write steps.<id>.output: which step is meant must be plain to see")
        elif kind == "mark" and text == "." and before not in _OPERAND_ENDS:
            raise ExpressionError("a name may not begin with a dot")
        member = kind == "name" and before == "."
        macros += member and text in MACROS
        builds |= member and text in BUILDERS
        joins_unknown |= before == "+" and not literal
        pluses += text == "+"
        before = _before(text, literal, before)
    if macros > MAX_MACROS or (macros and pluses > MAX_PLUSES_WITH_MACROS):
        raise ExpressionError(
            f"more than {MAX_MACROS} macros, or {MAX_PLUSES_WITH_MACROS} additions beside one"
        )
    if macros and joins_unknown:
        raise ExpressionError("beside a macro each + needs a literal on one side: a + '' + b, or a + 0 + b")
    return frozenset(refs), builds


def _before(text: str, literal: bool, before: str) -> str:
    """Return what the next token needs to know of this one; a `+` after a literal is harmless."""
    if text == "+":
        return "literal+" if before == "literal" else "+"
    if literal:
        return "literal"
    return "operand" if text[0].isalnum() or text[0] == "_" else text


def _first_line(message: str) -> str:
    text = message.removeprefix("INVALID_ARGUMENT: ").removeprefix("CANCELLED: ").removeprefix("ERROR: ")
    return text.partition("\n")[0].removeprefix("<input>:")[:300]


class _Json:
    """Turns a CEL value into JSON within a budget: a small program can name a huge value many times."""

    __slots__ = ("_characters", "_values")

    def __init__(self) -> None:
        self._values = MAX_RESULT_VALUES
        self._characters = MAX_RESULT_CHARACTERS

    def convert(self, wrapped: Any) -> Any:
        kind = wrapped.type()
        value = wrapped.value()
        if kind in (cel.Type.ERROR, cel.Type.UNKNOWN):
            raise ExpressionError(str(value)[:300])
        self._values -= 1
        if isinstance(value, str):
            self._characters -= len(_storable(value))
        if self._values < 0 or self._characters < 0:
            raise ExpressionError("the result is too large")
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return _finite(value)
        if isinstance(value, dict):
            return {_key(key): self.convert(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self.convert(member) for member in value]
        if isinstance(value, datetime.datetime):
            return value.isoformat()
        if isinstance(value, datetime.timedelta):
            return value.total_seconds()
        raise ExpressionError(f"a value of type {kind.name()} has no JSON form")


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise ExpressionError(f"{value} has no JSON form")


def _storable(text: str) -> str:
    if "\0" in text:
        raise ExpressionError("the result holds the character U+0000, which cannot be stored")
    return text


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _storable(key)
    raise ExpressionError(f"the key {key!r} of a map is not a string")
