"""The words of a CEL text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BUILDERS = frozenset({"map", "filter"})
MACROS = BUILDERS | {"all", "exists", "exists_one"}
_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*)
    | (?P<string>
        [bB]?[rR][bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*')
        | [bB]?(?:\"\"\"(?:\\.|.)*?\"\"\"|'''(?:\\.|.)*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      )
    | (?P<step>\bsteps\s*\.\s*(?P<id>[a-z][a-z0-9_]*)\s*\.\s*(?P<part>output|state|error)\b)
    | (?P<number>\d[\w.]*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<mark>[^\s\w])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word: `kind` is string, step, number, name or mark; of a step with its `id` and `part`."""

    kind: str
    text: str
    id: str = ""
    part: str = ""

    @property
    def literal(self) -> bool:
        """Whether it stands for itself."""
        return self.kind in ("string", "number")


def tokens_of(source: str) -> Iterator[Token]:
    """Yield the words in order, without the comments."""
    for match in _TOKEN.finditer(source):
        kind = str(match.lastgroup)
        if kind == "step":
            yield Token(kind, match.group(), match.group("id"), match.group("part"))
        elif kind != "comment":
            yield Token(kind, match.group())
