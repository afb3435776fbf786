"""Identifiers, cursors, documents, states: the values everything else relies on."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.hot import stored_output
from app.domain.documents import DEEPEST, dump, printable, too_deep
from app.domain.errors import InvalidInput
from app.domain.ids import uuid7, uuid7_floor, uuid7_ms
from app.domain.paging import PageRequest, decode_cursor, encode_cursor
from app.domain.states import MACHINES, RUN_TERMINAL, RUN_TRANSITIONS, allowed
from checks.state_machine import DOCUMENT, drawing, transition_sql

MOMENTS = st.integers(0, (1 << 48) - 1)
NOISE = st.binary(min_size=10, max_size=10)


@given(MOMENTS, NOISE)
def test_uuid7_carries_its_moment(moment: int, noise: bytes) -> None:
    made = uuid7(moment, noise)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert uuid7_ms(made) == moment
    assert uuid7_floor(moment) <= made


@given(st.tuples(MOMENTS, NOISE), st.tuples(MOMENTS, NOISE))
def test_uuid7_is_ordered_by_time(one: tuple[int, bytes], two: tuple[int, bytes]) -> None:
    if one[0] < two[0]:
        assert uuid7(*one) < uuid7(*two)


def test_uuid7_refuses_what_is_out_of_range() -> None:
    for moment, noise in ((-1, bytes(10)), (1 << 48, bytes(10)), (0, bytes(9))):
        with pytest.raises(ValueError, match=r"uuid7|unix_ms"):
            uuid7(moment, noise)


@given(st.lists(st.text() | st.integers(), min_size=1, max_size=3))
def test_cursor_comes_back(key: list[str | int]) -> None:
    assert list(decode_cursor(encode_cursor(*key), len(key))) == key


@pytest.mark.parametrize("cursor", ["", "x", "ü", encode_cursor("a", "b"), "e30"])
def test_foreign_cursor_is_invalid_input(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(cursor)


@pytest.mark.parametrize("limit", [0, 201])
def test_page_is_bounded(limit: int) -> None:
    with pytest.raises(InvalidInput):
        PageRequest(limit)


@pytest.mark.parametrize("value", ["\0", {"\0": 1}, ["a", {"b": "\ud800"}], float("nan"), {1, 2}])
def test_what_cannot_be_stored_has_no_text(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        dump(value)


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_printable_can_always_be_stored(value: object) -> None:
    dump(printable(value))


def test_printable_shows_what_cannot_be_stored() -> None:
    assert printable({"a\0": ["\ud800b", "😀"]}) == {"a\ufffd": ["\ufffdb", "😀"]}


def test_an_output_that_nests_too_deep_to_be_read_again_is_told() -> None:
    deep: object = {}
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert stored_output(deep) == (dump(deep), None)
    text, fault = stored_output({"a": deep})
    assert (text, fault and fault["code"]) == (None, "output_invalid")
    assert not too_deep("x" * 1000)


def test_states_lead_only_to_states() -> None:
    for transitions, initial in MACHINES.values():
        assert {new for targets in transitions.values() for new in targets} | set(initial) <= set(transitions)
        reached, edge = set(initial), list(initial)
        while edge:
            fresh = set(transitions[edge.pop()]) - reached
            reached |= fresh
            edge += fresh
        assert reached == set(transitions), "a state nobody reaches"


def test_only_a_retry_or_an_undoing_leaves_an_ended_run() -> None:
    assert {(old, new) for old in RUN_TERMINAL for new in RUN_TRANSITIONS[old]} == {
        ("failed", "running"),
        *((old, "compensating") for old in ("failed", "succeeded", "cancelled")),
    }
    assert allowed(RUN_TRANSITIONS, "failed", "running")
    assert not allowed(RUN_TRANSITIONS, "succeeded", "running")


def test_drawing_and_triggers_are_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == drawing()
    triggers = DOCUMENT.parents[1] / "migrations" / "sql" / "0001_transitions.sql"
    assert triggers.read_text(encoding="utf-8") == transition_sql()


def test_ids_are_values() -> None:
    assert uuid7(0, bytes(10)) == UUID("00000000-0000-7000-8000-000000000000")
