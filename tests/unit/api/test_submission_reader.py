"""What is read at a glance is what the schema would have read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.api.schemas.intents import SubmissionSchema
from app.api.submission_reader import at_a_glance, read_submission, submission_of
from app.domain.errors import InvalidInput

SCHEMA = SubmissionSchema()
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1.5, "", "x" * 201, [], {}, -1, 10, "core.echo\n", 2**31, b"core"]
)
LABELS = st.dictionaries(
    st.sampled_from(["team", "a/b", "Team", "", "k" * 64, "x\n"]), st.text("ab\n", max_size=3) | ODD
)
ITEMS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["core.echo", "a.b.c.d", "a", "A.b", "a" * 256]) | ODD,
        "spec": st.just({"a": 1}) | ODD,
    },
    optional={
        "type_version": st.integers(-1, 3) | ODD,
        "name": st.text("ab\n", max_size=3) | ODD,
        "labels": LABELS | ODD,
        "priority": st.integers(-1, 11) | ODD,
        "more": ODD,
    },
)


@settings(derandomize=True)
@given(ITEMS)
@example({"type": "core.echo", "spec": {}, "priority": True})
@example({"type": "core.echo", "spec": {}, "type_version": True})
@example({"type": "core.echo\n", "spec": {}})
def test_a_glance_agrees_with_the_schema(item: dict[str, Any]) -> None:
    if at_a_glance(item):
        assert SCHEMA.validate(item) == {}
        # By their text: True equals 1, but it is no number in JSON.
        assert repr(submission_of(item)) == repr(submission_of(SCHEMA.load(item)))


def test_the_usual_is_read_at_a_glance() -> None:
    usual = {
        "type": "core.echo",
        "spec": {},
        "type_version": 1,
        "name": "n",
        "labels": {"team": "a"},
        "priority": 9,
    }
    assert at_a_glance(usual)
    assert at_a_glance({"type": "core.echo", "spec": {}})


@pytest.mark.parametrize("item", [7, None, {"type": "core.echo"}, {"type": "core.echo", "spec": {}, "x": 1}])
def test_what_is_wrong_is_told_by_the_schema(item: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_submission(item)
    assert refused.value.faults
