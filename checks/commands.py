"""Every `quantum` command that a document shows is one: its words, its options, its arguments."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from app.cli import main
from checks.house import files
from checks.report import ROOT, Fault, tell

HISTORY = "docs/adr/"
SHOWN = re.compile(r"^\$ ((?:.*\\\n)*.*)", re.MULTILINE)
INLINE = re.compile(r"`(quantum [^`\n]*)`")
ROW = re.compile(r"^\| `(quantum [^`]*)`((?:, `[a-z][^`]*`)+) \|", re.MULTILINE)
WORD = re.compile(r"'[^']*'|\"[^\"]*\"|[^\s'\"]+")
# What follows a command in its line of the shell: a file, or the sign that nobody waits for it.
END = re.compile(r"\s(?:>|<|&)")


def commands_of(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield line, command, whether it is typed as it stands, of each that a Markdown text shows."""
    for match in SHOWN.finditer(text):
        line = re.sub(r"\s#\s.*", "", match[1].replace("\\\n", " "))
        for part in re.split(r"\|\||&&|[|;]", line):
            typed = re.sub(r"^(?:\s|[A-Z_]+=\S*\s)*", "", part)
            if typed.startswith("quantum "):
                yield text.count("\n", 0, match.start()) + 1, END.split(typed)[0], True
    for match in INLINE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[1], False
    alone = main.list_commands(click.Context(main))
    for match in ROW.finditer(text):
        group = " ".join(match[1].split()[:2])
        for other in re.findall(r"`([^`]+)`", match[2]):
            told = f"quantum {other}" if other.split()[0] in alone else f"{group} {other}"
            yield text.count("\n", 0, match.start()) + 1, told, False


def fault_of(command: str, *, typed: bool) -> str | None:
    """Return what is wrong with a command, None when it could be run.

    One that is not `typed` may name alternatives (`a|b`), leave out arguments, put brackets around options.
    """
    words = [word.strip("[]()….,") for word in WORD.findall(command.replace("\\|", "|"))][1:]
    words = [word for word in words if word not in ("", "|")]
    here: click.Command = main
    while isinstance(here, click.Group) and words and not words[0].startswith("-"):
        name, *_ = words.pop(0).split("|")
        found = here.get_command(click.Context(here), name)
        if found is None:
            return None if name.isupper() else f"`{command}`: there is no command {name}"
        here = found
    return _options(here, command, words, typed=typed)


def _options(here: click.Command, command: str, words: list[str], *, typed: bool) -> str | None:
    known = {name: each for each in here.params for name in (*each.opts, *each.secondary_opts)}
    known["--help"] = click.Option(["--help"], is_flag=True)
    arguments = [each for each in here.params if isinstance(each, click.Argument)]
    given = 0
    while words:
        word, _, value = words.pop(0).partition("=")
        if not word.startswith("-"):
            given += 1
        elif word not in known:
            return f"`{command}`: there is no option {word}"
        elif isinstance(option := known[word], click.Option) and not option.is_flag and not value:
            if not words and typed:
                return f"`{command}`: {word} takes a value"
            del words[:1]
    most = sum(each.nargs if each.nargs > 0 else 1000 for each in arguments)
    least = sum(each.required for each in arguments)
    if given > most or (typed and given < least and "--help" not in command):
        return f"`{command}`: it takes {least} to {most} arguments"
    return None


def faults(root: Path, paths: list[str]) -> Iterator[Fault]:
    """Yield each command that could not be run as a document shows it."""
    for path in paths:
        for line, command, typed in commands_of((root / path).read_text()):
            if wrong := fault_of(command, typed=typed):
                yield Fault(path, line, wrong)


if __name__ == "__main__":
    documents = [path for path in files(ROOT) if path.endswith(".md") and not path.startswith(HISTORY)]
    sys.exit(tell(faults(ROOT, documents)))
