"""Texts with `${...}` in them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from workflows.cel import MAX_EXPRESSION, Expression, ExpressionError, Scope, compile_expression

_SECRET = re.compile(r"\s*secrets\.([A-Za-z][A-Za-z0-9_-]{0,126})\s*", re.ASCII)
_SCAN = re.compile(
    r"\"\"\"(?:\\.|.)*?\"\"\"|'''(?:\\.|.)*?'''|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[{}]|[^{}\"']+|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The place of a secret in a text; only the worker, at the last moment, puts the value there."""

    name: str

    def __str__(self) -> str:
        return f"${{secrets.{self.name}}}"


@dataclass(frozen=True, slots=True)
class SecretText:
    """A text that contains secrets; `str` shows their names, never their values."""

    parts: tuple[str | SecretRef, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Template:
    """A text cut at its expressions; a text that is one expression keeps the expression's type."""

    parts: tuple[str | Expression | SecretRef, ...]

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The expressions in the order of the text."""
        return tuple(part for part in self.parts if isinstance(part, Expression))

    def render(self, scope: Scope) -> Any:
        """Return the value: JSON, or SecretText where the text names a secret; raises ExpressionError."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return scope.evaluate(self.parts[0])
        done = tuple(
            as_text(scope.evaluate(part)) if isinstance(part, Expression) else part for part in self.parts
        )
        if any(isinstance(part, SecretRef) for part in done):
            return SecretText(done)
        return "".join(map(str, done))


def as_text(value: Any) -> str:
    """Return a value as it stands within a longer text: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=8_192)
def compile_template(text: str, item: bool, undo: bool = False, event: bool = False) -> Template:
    """Cut `text` at its `${...}`; `$${` stands for a plain `${`. Raises ExpressionError."""
    parts: list[str | Expression | SecretRef] = []
    plain = ""
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            plain += text[at : start - 1] + "${"
            at = start + 2
            continue
        plain += text[at:start]
        if plain:
            parts.append(plain)
            plain = ""
        end = _closing(text, start + 2)
        inner = text[start + 2 : end]
        secret = _SECRET.fullmatch(inner)
        parts.append(SecretRef(secret[1]) if secret else compile_expression(inner.strip(), item, undo, event))
        at = end + 1
    plain += text[at:]
    if plain:
        parts.append(plain)
    return Template(tuple(parts))


def _closing(text: str, start: int) -> int:
    """Return the index of the brace that ends the expression at `start`."""
    depth = 1
    for match in _SCAN.finditer(text, start, start + MAX_EXPRESSION + 1):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if not depth:
                return match.start()
    raise ExpressionError(f"the expression at character {start - 2} does not end")
