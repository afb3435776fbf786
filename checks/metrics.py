"""Compares the table of metrics in the documents with their declarations; `--write` writes it."""

from __future__ import annotations

import ast
import re
import sys

from app.observability.metrics import PLATFORM
from checks.report import ROOT

SOURCE = ROOT / "app" / "observability" / "metrics.py"
PAGE = ROOT / "docs" / "observability.md"
KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}
TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- end -->)", re.DOTALL)


def declared() -> dict[str, tuple[str, str, str]]:
    """Return kind, labels, help of each metric by its name."""
    found = {name: (read.kind, read.label, read.text) for name, read in PLATFORM.items()}
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
            name, text, *rest = (ast.literal_eval(one) for one in node.args)
            found[name] = (KINDS[node.func.id], ", ".join(rest[0]) if rest else "", text)
    return dict(sorted(found.items()))


def table() -> str:
    """Return the table as the page shows it."""
    lines = ["| metric | kind | labels | help |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {kind} | {labels} | {text} |" for name, (kind, labels, text) in declared().items()
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Return 1 when the page differs."""
    present = PAGE.read_text()
    wanted = TABLE.sub(lambda found: found[1] + table() + found[2], present)
    if "--write" in arguments:
        PAGE.write_text(wanted)
        return 0
    if present != wanted:
        print("docs/observability.md lists other metrics than app/observability/metrics.py: run --write")
    return int(present != wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
