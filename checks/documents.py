"""The documents hold: their links resolve, every environment variable is described."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from checks.house import files
from checks.report import ROOT, Fault, tell

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
CONFIGURATION = "docs/configuration.md"
READERS = "app/settings"
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that the headings of a Markdown text make."""
    cleaned = (re.sub(r"[^\w\s-]", "", heading.strip().lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in cleaned}


def links(root: Path, paths: list[str]) -> Iterator[Fault]:
    """Yield each link to a file or heading that is not there; other sites are not asked."""
    for path in paths:
        text = (root / path).read_text()
        # Code shows brackets that are no links; blanks keep the line numbers.
        prose = CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)
        for match in LINK.finditer(prose):
            target, _, anchor = match[1].partition("#")
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            line = prose.count("\n", 0, match.start()) + 1
            file = (root / path).parent / target if target else root / path
            if not file.exists():
                yield Fault(path, line, f"links to {match[1]}, which is not there")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
                yield Fault(path, line, f"links to {match[1]}, but no heading makes that anchor")


def variables(root: Path) -> set[str]:
    """Return the names of the environment variables that settings, options of commands, the Procfile read."""
    names = {"ENVIRONMENT"}
    for file in (root / READERS).glob("*.py"):
        tree = ast.parse(file.read_text())
        names |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and VARIABLE.fullmatch(node.value)
        }
    for file in (root / "app" / "commands").glob("*.py"):
        names |= set(re.findall(r'envvar="([A-Z_]+)"', file.read_text()))
    return names | named_in(root / "Procfile")


def named_in(script: Path) -> set[str]:
    """Return the names of the variables that a script puts in, if there is that script."""
    return set(re.findall(r"\$[({]([A-Z_]+)", script.read_text())) if script.is_file() else set()


def configuration(root: Path) -> Iterator[Fault]:
    """Yield each variable that docs/configuration.md leaves out, each in its tables that nothing reads."""
    page = root / CONFIGURATION
    if not page.is_file():
        yield Fault(CONFIGURATION, 1, "is missing: it describes every environment variable")
        return
    text = page.read_text()
    known = variables(root)
    usable = known | named_in(root / "Makefile")
    for name in known - set(re.findall(r"`([A-Z][A-Z0-9_]+)`", text)):
        yield Fault(CONFIGURATION, 1, f"does not describe `{name}`")
    for row in re.finditer(r"^\| (`[A-Z][^|]*)\|", text, re.MULTILINE):
        for name in set(re.findall(r"`([A-Z][A-Z0-9_]+)`", row[1])) - usable:
            yield Fault(CONFIGURATION, text.count("\n", 0, row.start()) + 1, f"nothing reads `{name}`")


if __name__ == "__main__":
    documents = [path for path in files(ROOT) if path.endswith(".md")]
    sys.exit(tell([*links(ROOT, documents), *configuration(ROOT)]))
