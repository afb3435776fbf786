"""The house rules that no other linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from checks.report import ROOT, Fault, tell

PRODUCT = ("app", "tasks", "workflows", "migrations")
PYTHON = (*PRODUCT, "bench", "checks", "tests")
LONGEST_FILE = 400
LONGEST_FUNCTION = 50
PURE = ("app/domain/", "workflows/")
READS_ENVIRONMENT = "app/settings/__init__.py"

# A file of tables or one long statement may pass, with its reason: "# house: long - reason".
ALLOWED = re.compile(r"# house: long - \S")

# Spelt in two parts, so that this file does not break its own rules.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|\bfor n" r"ow\b|\bst" r"ubs?\b", re.IGNORECASE)
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:wo" r"rk|fa" r"rm)/")
SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|nosec|fmt:\s*(?:off|skip)|mypy:)")
REASONED = (
    re.compile(r"#\s*noqa: [A-Z]+[0-9]+(?:, ?[A-Z]+[0-9]+)*\s+(?:-|#)\s+\S.{2,}"),
    re.compile(r"#\s*type: ignore\[[a-z, -]+\]\s+#\s+\S.{2,}"),
    re.compile(r"#\s*(?:pragma: [a-z ]+|nosec \w+|fmt: (?:off|skip)|mypy: [\w-]+)\s+(?:-|#)\s+\S.{2,}"),
)

Rule = Callable[[str, str, ast.Module], Iterator[Fault]]


def length(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:
    """A file has at most 400 lines, a function at most 50."""
    lines = text.splitlines()
    if len(lines) > LONGEST_FILE and not any(ALLOWED.search(line) for line in lines[:10]):
        yield Fault(path, len(lines), f"{len(lines)} lines in a file; at most {LONGEST_FILE}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > LONGEST_FUNCTION and not ALLOWED.search("".join(lines[node.lineno - 2 : node.lineno])):
                yield Fault(path, node.lineno, f"{count} lines in {node.name}(); at most {LONGEST_FUNCTION}")


def docstring(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:
    """A module does one thing: its docstring is one sentence without "and"."""
    if not text.strip():
        return
    words = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").strip()
    if not words:
        yield Fault(path, 1, "a module docstring is missing")
    elif re.search(r"\band\b", words):
        yield Fault(path, 1, 'the module docstring says "and": the module does two things')
    elif not words.endswith(".") or re.search(r"\.\s+[A-Z]", words):
        yield Fault(path, 1, "the module docstring is not one sentence with a full stop")


def environment(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:  # noqa: ARG001 - a rule's signature
    """Only the settings read the environment."""
    if path == READS_ENVIRONMENT or not path.startswith(tuple(f"{root}/" for root in PRODUCT)):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "os.environ",
            "os.getenv",
            "os.environb",
        ):
            yield Fault(path, node.lineno, f"{ast.unparse(node)} outside {READS_ENVIRONMENT}")
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            for name in node.names:
                if name.name in ("environ", "getenv", "environb"):
                    yield Fault(path, node.lineno, f"os.{name.name} outside {READS_ENVIRONMENT}")


def sleep(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:  # noqa: ARG001 - a rule's signature
    """A test waits for a condition, never for time."""
    if not path.startswith("tests/"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            yield Fault(path, node.lineno, "time.sleep in a test: use tests.support.waiting.eventually")
        names = node.names if isinstance(node, ast.ImportFrom) and node.module == "time" else []
        if any(name.name == "sleep" for name in names):
            yield Fault(path, node.lineno, "time.sleep in a test: use tests.support.waiting.eventually")


def suppressions(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:  # noqa: ARG001 - a rule's signature
    """Whoever silences a linter says why, beside it."""
    for number, line in enumerate(text.splitlines(), 1):
        if SUPPRESSION.search(line) and not any(form.search(line) for form in REASONED):
            yield Fault(path, number, "a suppression without its code, or without a reason beside it")


def excepts(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:  # noqa: ARG001 - a rule's signature
    """No bare except."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield Fault(path, node.lineno, "a bare except: name what is expected")


def frozen(path: str, text: str, tree: ast.Module) -> Iterator[Fault]:  # noqa: ARG001 - a rule's signature
    """Values of the domain are frozen."""
    if not path.startswith(PURE):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            words = ast.unparse(decorator)
            if words.startswith(("dataclass", "dataclasses.dataclass")) and "frozen=True" not in words:
                yield Fault(path, node.lineno, f"the dataclass {node.name} is not frozen")


RULES: tuple[Rule, ...] = (length, docstring, environment, sleep, suppressions, excepts, frozen)


def words(path: str, text: str) -> Iterator[Fault]:
    """Nothing unfinished is kept, nothing tells of the machine it was written on."""
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATHS.search(line):
            yield Fault(path, number, "a path of one machine")
        if path.endswith((".py", ".sql", ".cfg", ".toml", ".yml", "Makefile")) and UNFINISHED.search(line):
            yield Fault(path, number, "unfinished work is not kept: finish it, or file it")


def targets(root: Path) -> Iterator[Fault]:
    """Every target of the Makefile tells what it does in `make help`."""
    text = (root / "Makefile").read_text() if (root / "Makefile").is_file() else ""
    phony = re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE)
    named = set(phony[1].split()) if phony else set()
    for number, line in enumerate(text.splitlines(), 1):
        target = re.match(r"^([a-z][a-z-]*):", line)
        if target and "## " not in line:
            yield Fault("Makefile", number, f"the target {target[1]} has no `## words`")
        if target and target[1] not in named:
            yield Fault("Makefile", number, f"the target {target[1]} is not in .PHONY")


def files(root: Path) -> list[str]:
    """Return the paths that git tracks, or would: everything but what it ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for path in listed if (root / path).is_file()]


def faults(root: Path, paths: list[str]) -> Iterator[Fault]:
    """Yield every fault of the named files of a tree."""
    for path in paths:
        try:
            text = (root / path).read_text()
        except UnicodeDecodeError:
            continue  # no text: a picture or a font
        yield from words(path, text)
        if path.endswith(".py") and path.startswith(tuple(f"{name}/" for name in PYTHON)):
            tree = ast.parse(text, path)
            for rule in RULES:
                yield from rule(path, text, tree)
    yield from targets(root)


if __name__ == "__main__":
    sys.exit(tell(faults(ROOT, files(ROOT))))
