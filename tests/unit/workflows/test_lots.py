"""How ready siblings are dealt out to messages."""

from __future__ import annotations

from workflows.lots import Hand, deal, with_messages
from workflows.segments import Fork, Segment, Stretch

JOIN = Stretch(("join", "end"))


def chord(*branches: tuple[str, ...]) -> Segment:
    return Segment(1, (Fork(branches), JOIN))


def alone(*keys: str) -> list[Segment]:
    return [Segment(0, (Stretch((key,)),)) for key in keys]


def queue_of(key: str) -> str:
    return key[0]


def keys(hands: tuple[Hand, ...]) -> list[list[tuple[str, bool]]]:
    return [list(hand.keys) for hand in hands]


def test_as_many_have_messages_as_the_queue_has_processes() -> None:
    hands = deal([chord(("a1",), ("a2",), ("a3",))], queue_of, lambda _: 2)
    assert keys(hands) == [[("a1", False), ("a2", False), ("a3", True)]]


def test_nothing_is_shared_where_processes_suffice_or_nobody_knows_them() -> None:
    header = [chord(("a1",), ("a2",))]
    assert deal(header, queue_of, lambda _: 2) == ()
    assert deal(header, queue_of, lambda _: 9) == ()
    assert deal(header, queue_of, lambda _: 0) == ()


def test_who_hands_its_place_on_is_of_a_lot_also_where_processes_suffice() -> None:
    hands = deal(alone("a1", "a2", "b1"), queue_of, lambda _: 9, lambda key: key != "a2")
    assert keys(hands) == [[("a1", False)], [("b1", False)]]
    assert keys(deal(alone("a1", "a2"), queue_of, lambda _: 1, lambda _: True)) == [
        [("a1", False), ("a2", True)]
    ]


def test_each_queue_has_a_lot_of_its_own() -> None:
    hands = deal(
        [chord(("a1",), ("b1",), ("a2",), ("b2",))], queue_of, lambda queue: 1 if queue == "a" else 2
    )
    assert keys(hands) == [[("a1", False), ("a2", True)]]


def test_a_line_that_changes_its_queue_keeps_its_message() -> None:
    # With neither queue is it one of theirs: taken for one of "b" it would share with "b2".
    hands = deal([chord(("a1", "b1"), ("a2",), ("a3", "a4"), ("b2",))], queue_of, lambda _: 1)
    assert keys(hands) == [[("a2", False), ("a3", True), ("a4", True)]]


def test_lines_without_a_chord_share_one_lot() -> None:
    hands = deal([*alone("a1", "a2"), *alone("a3")], queue_of, lambda _: 1)
    assert keys(hands) == [[("a1", False), ("a2", True), ("a3", True)]]


def test_what_goes_on_to_a_fork_is_no_line() -> None:
    assert (
        deal([Segment(0, (Stretch(("a1",)), Fork((("a2",), ("a3",))), JOIN))] * 3, queue_of, lambda _: 1)
        == ()
    )


def test_the_loose_are_left_out_of_the_canvas() -> None:
    header = chord(("a1",), ("a2",), ("a3",))
    assert with_messages([header], {"a3"}) == (chord(("a1",), ("a2",)),)
    assert with_messages([header], {"a2", "a3"}) == (Segment(1, (Stretch(("a1", "join", "end")),)),)
    assert with_messages(alone("a1", "a2"), {"a2"}) == tuple(alone("a1"))
