"""What `make test-services` runs: each test that starts workers runs in each way, or says why not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.services.__main__ import NOT_ONE_BY_ONE, NOT_OVER_RABBITMQ, STARTING_WORKERS
from tests.support.brokers import REDIS_BROKER
from tests.support.database import ROOT

STARTS = re.compile(r"\.(?:worker|start_worker|kept_worker)\(|\bWORKER\b")
"""How a test starts a worker: through the rig, or by its command."""
ELSEWHERE = ("tests/unit/", "tests/services/", "tests/scale/")
"""Start none, are run by name, or take minutes."""
ACCEPTANCE = sorted((ROOT / "tests/acceptance").rglob("test_*.py"))


def test_every_test_that_starts_workers_runs_in_each_way() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if STARTS.search(path.read_text())
    }
    wanted = {path for path in found if not path.startswith(ELSEWHERE)}
    assert len(wanted) > 15, "they are no longer recognised"
    folders = tuple(f"{folder}/" for folder in STARTING_WORKERS)
    assert {path for path in wanted if not path.startswith(folders)} == set()


@pytest.mark.parametrize("left_out", [NOT_ONE_BY_ONE, NOT_OVER_RABBITMQ])
def test_what_is_left_out_is_there_with_its_reason(left_out: dict[str, str]) -> None:
    assert all((ROOT / path).is_file() for path in left_out)
    assert all(len(reason.split()) > 3 for reason in left_out.values())
    assert all((ROOT / path).is_dir() for path in STARTING_WORKERS)


def test_acceptance_runs_over_rabbitmq() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in ACCEPTANCE}
    assert len(names) >= 27, "they are no longer found"
    assert len(names - set(NOT_OVER_RABBITMQ)) >= len(names) - 4
    whole = {path.relative_to(ROOT).as_posix() for path in ACCEPTANCE if "pytestmark" in marked(path)}
    assert whole == {"tests/acceptance/test_pytest_celery.py"}, "a module that is left out whole is listed"
    assert whole <= set(NOT_OVER_RABBITMQ)


def test_a_test_about_redis_says_why_and_none_is_skipped_for_the_broker() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        for reason in marked(path).values():
            assert len(reason.split()) > 3, f"{path.name}: a reason"
        asked = "over_rabbitmq" in text or "is_amqp" in text
        assert not (asked and re.search(r"pytest\.skip|mark\.skipif", text)), f"{path.name}: use the marker"


def marked(path: Path) -> dict[str, str]:
    """Return the reasons for which tests of a file are left out over RabbitMQ, by what bears the marker."""
    found: dict[str, str] = {}
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if f"mark.{REDIS_BROKER}" in text else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.update((node.name, reason_of(one)) for one in node.decorator_list if is_marker(one))
        elif isinstance(node, ast.Assign) and any(map(is_marker, ast.walk(node.value))):
            found["pytestmark"] = next(reason_of(one) for one in ast.walk(node.value) if is_marker(one))
    return found


def is_marker(node: ast.AST) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return isinstance(called, ast.Attribute) and called.attr == REDIS_BROKER


def reason_of(node: ast.AST) -> str:
    arguments = node.args if isinstance(node, ast.Call) else []
    return str(arguments[0].value) if arguments and isinstance(arguments[0], ast.Constant) else ""
