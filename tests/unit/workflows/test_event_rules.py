"""What is known of a trigger's filter before anything happens."""

from __future__ import annotations

import pytest

from workflows.cel import ExpressionError
from workflows.event_rules import check_filter


@pytest.mark.parametrize(
    "source",
    [
        "event.data.code == 'x'",
        "event.data.flag",
        "event.data.flag || event.type.startsWith('io.quantum.run')",
        "has(event.data.code)",
        "event.data.n > 3 ? event.data.flag : false",
        "true",
    ],
)
def test_what_may_give_true_or_false_passes(source: str) -> None:
    check_filter(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("size(event.data)", "gives int"),
        ("event.data.code + 'x'", "gives string"),
        ("[event.data.flag]", "gives list"),
        ("'true'", "gives string"),
        ("null", "gives null"),
        ("event", "gives map"),
        ("event.data", "gives map"),
        ("event.type", "gives string"),
        ("event.source", "an event has id, type"),
        ("spec.x", "undeclared"),
    ],
)
def test_what_never_gives_true_or_false_is_refused(source: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        check_filter(source)
