"""Expressions, templates, conditions, fans, secrets."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.documents import DEEPEST
from workflows.cel import ExpressionError, Scope, compile_expression
from workflows.decisions import DecisionFailed, evaluate_foreach, evaluate_when, evaluate_with

CONTEXT: dict[str, Any] = {
    "spec": {
        "n": 3,
        "name": "Ada",
        "list": [1, 2],
        "nested": {"a.b": None},
        "trap": "${secrets.TOKEN} ${spec.n}",
    },
    "steps": {"a": {"output": {"files": 7}, "state": "succeeded"}},
    "run": {"id": "r1"},
    "item": {"path": "x"},
    "index": 0,
}


def _with(value: Any) -> Any:
    return evaluate_with({"with": {"v": value}, "foreach": "spec.list"}, CONTEXT).stored["v"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${spec.n}", 3),
        ("n=${spec.n}", "n=3"),
        ("${spec.list}${spec.nested}", '[1,2]{"a.b":null}'),
        ("${spec.n > 2 && spec.name == 'Ada'}", True),
        ("${spec.list.map(x, {'double': x * 2})}", [{"double": 2}, {"double": 4}]),
        ("${steps.a.output.files}/${index} ${item.path} ${run.id}", "7/0 x r1"),
        ("${steps.a.state}", "succeeded"),
        ("${has(spec.absent) ? spec.absent : '}'}", "}"),
        ("${range(3)}", [0, 1, 2]),
        ("${size(range(2000).map(x, x))}", 2000),
        ("${spec.list.map(x, x + 1 + x)}", [3, 5]),
        ("${spec.list.map(x, 'n' + string(x) + '-' + spec.name)}", ["n1-Ada", "n2-Ada"]),
        ("${spec.list + spec.list}", [1, 2, 1, 2]),
        ("$${spec.n} ${spec.n}", "${spec.n} 3"),
        ("${spec.trap}", "${secrets.TOKEN} ${spec.n}"),
        ("${timestamp('2026-01-01T00:00:00Z')}", "2026-01-01T00:00:00+00:00"),
        ({"deep": ["${spec.n}", 1.5, None]}, {"deep": [3, 1.5, None]}),
    ],
)
def test_values(text: Any, value: Any) -> None:
    assert _with(text) == value


@pytest.mark.parametrize(
    "source",
    [
        "",
        "1 +",
        "nowhere.x",
        "secrets.A",
        "steps",
        "steps['a'].output",
        "steps.a",
        "[1].map(steps, 1)",
        ".steps.a",
        "item",
        "index",
        "a" * 2001,
        "[1].map(a, [1].map(b, [1].map(c, [1].map(d, 1))))",
        "[1].map(a, " + "+''+".join("a" * 10) + ")",
        "spec.l.map(x, spec.l + spec.l)",
        "spec.l.map(x, (spec.l) + [x])",
        "spec.l.map(x, 'a' + x + x)",
    ],
)
def test_refused_when_compiled(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source, item=False)


@pytest.mark.parametrize(
    "source",
    [
        "spec.absent",
        "spec.n.x",
        "1 / 0",
        "1.0 / 0.0",
        "b'x'",
        "{1: 2}",
        "[spec.absent]",
        "spec.n + 'x'",
        "range(101).map(x, range(100))",
        "range(2001).map(x, x)",
        "spec.long.map(x, x)",
        "steps.a.output.filter(x, true)",
        "range(1999).map(x, range(1))",
        "range(200).map(x, spec.big)",
        "['a\\u0000b']",
        "{'a\\u0000b': 1}",
    ],
)
def test_refused_when_evaluated(source: str) -> None:
    long = list(range(2001))
    scope = Scope(
        {"spec": {"n": 1, "big": ["x" * 1000] * 1000, "long": long}, "steps": {"a": {"output": long}}}
    )
    with pytest.raises(ExpressionError):
        scope.evaluate(compile_expression(source, item=False))


def test_references_are_read_from_the_text() -> None:
    found = compile_expression(
        "steps.a.output.x + steps . b . output + 'steps.c.output' // steps.d.output", False
    )
    assert found.refs == {"a", "b"}
    assert not found.uses_spec


def test_when() -> None:
    assert evaluate_when({"when": None}, CONTEXT)
    assert not evaluate_when({"when": "spec.n > 3"}, CONTEXT)
    for source in ("spec.n", "spec.absent"):
        with pytest.raises(DecisionFailed) as caught:
            evaluate_when({"when": source}, CONTEXT)
        assert caught.value.code == "when_failed"
        assert not caught.value.retryable


def test_foreach() -> None:
    assert evaluate_foreach({"foreach": ["a"]}, CONTEXT) == ["a"]
    assert evaluate_foreach({"foreach": "range(10000)"}, {}) == list(range(10_000))
    assert evaluate_foreach({"foreach": "spec.list"}, CONTEXT) == [1, 2]
    for source, kind in (("spec.n", "a number"), ("spec.name", "a string"), ("spec", "an object")):
        with pytest.raises(DecisionFailed, match=f"foreach gives {kind}, not a list"):
            evaluate_foreach({"foreach": source}, CONTEXT)
    with pytest.raises(DecisionFailed) as caught:
        evaluate_foreach({"foreach": "spec"}, {"spec": [0] * 10_001})
    assert caught.value.code == "foreach_too_wide"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_nests_too_deep_to_be_read_again_is_refused() -> None:
    spec = {"deep": nested(DEEPEST - 1), "deeper": nested(DEEPEST)}
    assert evaluate_with({"with": {"a": "${spec.deep}"}}, {"spec": spec}).stored == {"a": spec["deep"]}
    assert evaluate_foreach({"foreach": "spec.deep"}, {"spec": spec}) == spec["deep"]
    with pytest.raises(DecisionFailed, match="deeper than 100 levels") as caught:
        evaluate_with({"with": {"a": "${spec.deeper}"}}, {"spec": spec})
    assert caught.value.code == "with_failed"
    with pytest.raises(DecisionFailed, match="deeper than 100 levels"):
        evaluate_foreach({"foreach": "spec.deeper"}, {"spec": {"deeper": nested(DEEPEST + 1)}})


def test_secrets_are_named_in_what_is_stored_and_put_in_by_the_worker_only() -> None:
    given = evaluate_with(
        {"with": {"headers": {"auth": "Bearer ${secrets.TOKEN}"}, "x": "${spec.trap}"}}, CONTEXT
    )
    assert given.secrets == {"TOKEN"}
    assert given.stored == {"headers": {"auth": "Bearer ${secrets.TOKEN}"}, "x": CONTEXT["spec"]["trap"]}
    assert given.resolve({"TOKEN": "s3cret"}) == {
        "headers": {"auth": "Bearer s3cret"},
        "x": CONTEXT["spec"]["trap"],
    }
    assert "s3cret" not in str(given.stored)


def test_a_compensation_is_given_its_step_s_input_and_output() -> None:
    context = {**CONTEXT, "input": {"to": 1}, "output": {"id": 9}}
    given = {"v": "${output.id}", "w": "${input.to + 1} of ${item.path}"}
    assert evaluate_with({"with": given, "undo": True}, context).stored == {"v": 9, "w": "2 of x"}
