"""The list of event types is what the SQL, the services write, what the documents tell."""

from __future__ import annotations

import re
from pathlib import Path

from app.domain.events import EVENT_TYPES, PREFIX

ROOT = Path(__file__).parents[2]
_SQL = re.compile(
    r"'(?:io\.quantum\.)?((?:intent|run|step|schedule|bulk|workflow|module|secret|user|tenant|trigger|webhook)\.[a-z_]+)'"
)
_CALLS = re.compile(r"(?:emit_event|wait_event)\((?:[^;]*?);", re.DOTALL)
_PYTHON = re.compile(r'"((?:workflow|module|secret|user|tenant|schedule|trigger|webhook)\.[a-z]+ed)"')


def written() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "migrations" / "sql").glob("*.sql"):
        for call in _CALLS.findall(file.read_text()):
            found |= set(_SQL.findall(call))
    for file in (ROOT / "app" / "services").glob("*.py"):
        found |= set(_PYTHON.findall(file.read_text()))
    return found


def test_what_is_written_is_listed_and_told() -> None:
    listed = {name.removeprefix(PREFIX) for name in EVENT_TYPES}
    told = set(re.findall(r"`([a-z]+\.[a-z_]+)`", (ROOT / "docs" / "events.md").read_text()))
    assert written() - listed == set(), "written, not listed in app/domain/events.py"
    assert listed - told == set(), "listed, not told in docs/events.md"
