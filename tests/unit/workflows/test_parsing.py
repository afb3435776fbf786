"""Documents are judged by form, with the place of each fault."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import InvalidInput
from tests.unit.workflows.shapes import document
from workflows.parsing import parse_definition, parse_text

OK = document({"a": []})


def _faults(broken: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        parse_definition(broken)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("broken", "pointer"),
    [
        ([], ""),
        ({**OK, "version": 0}, "/version"),
        ({**OK, "name": "Bad Name"}, "/name"),
        ({**OK, "steps": []}, "/steps"),
        ({**OK, "surprise": 1}, ""),
        ({**OK, "deadline": 0}, "/deadline"),
        (document({"A": []}), "/steps/0/id"),
        (document({"a": []}, a={"uses": "echo"}), "/steps/0/uses"),
        (document({"a": []}, a={"retry": {"attempts": 0}}), "/steps/0/retry/attempts"),
        (document({"a": []}, a={"timeout": 0}), "/steps/0/timeout"),
        (document({"a": []}, a={"foreach": 3}), "/steps/0/foreach"),
        (document({"a": []}, a={"foreach": [1], "max_parallel": 0}), "/steps/0/max_parallel"),
        (document({"a": []}, a={"max_parallel": 2}), "/steps/0"),
        (document({"a": ["b", "b"]}), "/steps/0/needs"),
    ],
)
def test_each_fault_has_its_pointer(broken: Any, pointer: str) -> None:
    assert (pointer, "schema") in _faults(broken)


def test_size_depth_and_types_are_bounded() -> None:
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    assert _faults(document({"a": []}, a={"with": {"any": deep}}))[0][1] == "too_deep"
    assert _faults({**OK, "description": "x" * 1_000_001})[0][1] == "too_large"
    assert _faults({**OK, "steps": [None] * 200_001})[0][1] == "too_large"
    for unkept in ({1: 2}, {"description": "\0"}, {"description": "\ud800"}, {"version": float("nan")}):
        assert _faults({**OK, **unkept})[0][1] == "syntax"
    assert _faults(document({f"s{n}": [] for n in range(2001)})) == [("/steps", "schema")]


def test_yaml_aliases_do_not_explode() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for level, above in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"{level}: &{level} [{', '.join([f'*{above}'] * 10)}]\n"
    assert _faults(parse_text(bomb))[0][1] == "too_large"


def test_text_that_is_no_yaml_is_refused() -> None:
    for text in ("a: [", "!!python/object/apply:os.system ['true']", "x" * 1_000_001):
        with pytest.raises(InvalidInput):
            parse_text(text)


def test_the_optional_braces_of_when_and_foreach_are_taken_off() -> None:
    parsed = parse_definition(document({"a": []}, a={"when": "${ spec.go }", "foreach": ["x"]}))
    assert (parsed.steps[0].when, parsed.steps[0].foreach) == ("spec.go", ("x",))
    assert parse_definition(document({"a": []}, a={"when": False})).steps[0].when == "false"


def test_on_is_a_text_in_yaml() -> None:
    assert parse_text("{on: always, off: [yes, true, False]}") == {
        "on": "always",
        "off": ["yes", True, False],
    }


def test_limits_are_durations_or_seconds() -> None:
    found = parse_definition({**OK, "deadline": "P1DT2H", "queue_timeout": 1.5}).limits
    assert found == {"deadline_s": 93_600.0, "queue_timeout_s": 1.5}
    assert _faults({**OK, "deadline": "PT0S", "queue_timeout": "1 hour"}) == [
        ("/deadline", "bad_time"),
        ("/queue_timeout", "bad_time"),
    ]
