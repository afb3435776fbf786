"""What an expression may cost on the data that it gets."""

from __future__ import annotations

import time
from typing import Any

import pytest

from workflows.cel import ExpressionError, Scope, compile_expression


def balanced(word: str, count: int) -> str:
    """Join so many of a word by + without nesting deep: a chain would be refused by its depth."""
    if count <= 20:
        return "(" + "+".join([word] * count) + ")"
    half = count // 2
    return f"({balanced(word, half)}+{balanced(word, count - half)})"


NUMBERS = list(range(40_000))
SPEC: dict[str, Any] = {
    "numbers": NUMBERS,
    "others": [*NUMBERS[:-1], 0],
    "fewer": NUMBERS[:1_000],
    "text": "a" * 250_000,
    "rows": [[*range(100)] for _ in range(400)],
    "files": [{"name": f"f{index}", "size": index, "tags": ["a", "b", "c"]} for index in range(2_000)],
    "limit": 10,
    "kinds": {"a": 1},
}


def value_of(source: str, spec: Any = SPEC, **more: Any) -> Any:
    scope = Scope({"spec": spec, "steps": {}, "run": {}, **more})
    return scope.evaluate(compile_expression(source, item=bool(more)))


@pytest.mark.parametrize(
    "source",
    [
        balanced("spec.numbers", 80),  # 1.4 GB, beside two minutes
        balanced("spec.text", 100),
        f"size({balanced('spec.numbers', 80)}) > 0",
        "range(10000).all(i, spec.numbers != spec.others)",
        f"range(1000).all(i, {' && '.join(['spec.fewer == spec.fewer'] * 5)})",
        "range(2000).map(i, spec.text + '').size()",
        "range(10000).all(i, !spec.text.matches('(b+b+)+c'))",
        "spec.rows.all(x, spec.rows.all(y, spec.rows.all(z, x == y || y == z)))",
        "[spec.numbers, spec.numbers].all(x, range(5000).all(y, x == x))",
        "range(2000).map(i, spec.rows).all(x, range(2000).all(y, x == x))",
        "spec.rows.all(item, spec.rows.all(index, item == spec.numbers))",
        'range(10000).all(i, spec["numbers"] != spec["oth" + "ers"])',
    ],
)
def test_what_would_take_seconds_or_gigabytes_is_refused_at_once(source: str) -> None:
    began = time.process_time()
    with pytest.raises(ExpressionError, match="too much data"):
        value_of(source)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("spec.files.filter(f, f.size < spec.limit).size()", 10),
        ("spec.files.filter(f, f.size > 1990 && 'a' in f.tags).map(f, '/data/' + f.name)[0]", "/data/f1991"),
        ("spec.files.exists(f, f.name == 'f7' && f.size in [7, 8, 9])", True),
        ("spec.files.all(f, f.tags.exists(t, t == 'b'))", True),
        ("spec.files[3].name + '-' + spec.files[4].name + '-' + spec.files[5].name + '!'", "f3-f4-f5!"),
        ("spec.kinds['a'] + spec.kinds['a'] + spec.kinds['a'] + spec.kinds['a'] + spec.kinds['a']", 5),
    ],
)
def test_what_people_write_is_not(source: str, value: Any) -> None:
    spec = {name: SPEC[name] for name in ("files", "limit", "kinds", "text")}
    assert value_of(source, spec) == value


def test_large_data_may_be_looked_at_and_joined_a_few_times() -> None:
    assert value_of("spec.text + spec.text == spec.text + 'a'") is False
    assert value_of("size(spec.numbers + spec.others + [1] + [2])") == 2 * len(NUMBERS) + 2
    assert value_of("spec.numbers.all(n, n < 0)") is False


def test_a_computed_index_counts_as_the_largest_it_may_give() -> None:
    fan = {"fan": {"output": [{"name": f"n{index}", "more": NUMBERS[:200]} for index in range(2_000)]}}
    source = "steps.fan.output[index].name + '-' + steps.fan.output[index + 1].name + '.' + run.id + '!'"
    assert value_of(source, {}, steps=fan, run={"id": "r"}, item=0, index=3) == "n3-n4.r!"
