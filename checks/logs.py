"""Finds log lines whose event is no constant, compares the table of events with them; `--write` writes it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from checks.report import ROOT, Fault, tell

PACKAGES = ("app", "tasks", "workflows", "migrations")
PAGE = ROOT / "docs" / "observability.md"
TABLE = re.compile(r"(<!-- logs -->\n).*?(<!-- end of logs -->)", re.DOTALL)
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Line(NamedTuple):
    """An event that a module logs at a level."""

    event: str
    level: str
    module: str


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call of the module's logger with its level."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        logger = node.func.value
        if isinstance(logger, ast.Name) and logger.id == "log" and node.func.attr in LEVELS:
            yield node, LEVELS[node.func.attr]


def events_of(call: ast.Call) -> list[str] | None:
    """Return the events that a call may log; None when one is no constant, or data stands beside it."""
    if len(call.args) != 1:
        return None
    first = call.args[0]
    choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    found = [one.value for one in choices if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return found if len(found) == len(choices) and all(map(NAME.fullmatch, found)) else None


def read(path: str, text: str) -> tuple[list[Line], list[Fault]]:
    """Return what a file logs, with its faults."""
    lines, faults = [], []
    module = path.removesuffix(".py").replace("/", ".")
    for call, level in calls(ast.parse(text, path)):
        events = events_of(call)
        if events is None:
            words = "the event of a log line is one constant_name, its data goes in keywords"
            faults.append(Fault(path, call.lineno, words))
        lines += [Line(event, level, module) for event in events or ()]
    return lines, faults


def files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield path with text of every file that may log."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield str(path.relative_to(root)), path.read_text()


def table(lines: list[Line]) -> str:
    """Return the table as the page shows it."""
    rows = [f"| `{one.event}` | {one.level} | `{one.module}` |" for one in sorted(set(lines))]
    return "\n".join(["| event | level | module |", "| --- | --- | --- |", *rows]) + "\n"


def main(arguments: list[str]) -> int:
    """Return 1 for a fault, or when the page differs."""
    lines: list[Line] = []
    faults: list[Fault] = []
    for path, text in files(ROOT):
        found, wrong = read(path, text)
        lines += found
        faults += wrong
    present = PAGE.read_text()
    wanted = TABLE.sub(lambda match: match[1] + table(lines) + match[2], present)
    if "--write" in arguments:
        PAGE.write_text(wanted)
    elif present != wanted:
        faults.append(Fault("docs/observability.md", 1, "lists other events than the code logs: run --write"))
    return tell(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
