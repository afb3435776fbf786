"""Every graph is carried once, no join starts early, nothing waits behind a needless barrier."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.workflows.shapes import plan
from tests.unit.workflows.simulation import Simulation
from workflows.plan import Plan
from workflows.segments import (
    MAX_CARRIED,
    MAX_STRETCH,
    Fork,
    ReadyStep,
    Segment,
    Stretch,
    narrow,
    restrict,
    segments_for,
)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Plan, dict[str, int]]:
    """An acyclic graph of up to 14 steps, some of them fans with up to 4 items."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 14)))]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:place]), max_size=4, unique=True)) if place else []
        for place, name in enumerate(names)
    }
    fans = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    return plan(needs, fans), {fan: draw(st.integers(0, 4)) for fan in fans}


@given(graphs(), st.randoms(use_true_random=False), st.integers(0, 4))
@settings(max_examples=300)
def test_any_graph_runs_each_step_once_and_without_needless_waiting(
    graph: tuple[Plan, dict[str, int]], random: Random, interruptions: int
) -> None:
    compiled, items = graph
    simulation = Simulation(compiled, items, random, interruptions)
    executed = simulation.run()
    expected = [step.base for step in compiled.steps if not step.is_fan]
    expected += [f"{fan}.{item}" for fan, count in items.items() for item in range(count)]
    assert sorted(executed) == sorted(expected)
    if not interruptions:
        assert simulation.stale == 0


def test_a_narrow_segment_never_has_more_ready_steps_than_at_its_head() -> None:
    fork, join = Fork((("b",), ("c",))), Stretch(("d",))
    late = Segment(0, (Stretch(("a",)), fork, join))
    early = Segment(1, (fork, join, fork, join))
    assert narrow([late, early]) == (Segment(0, (Stretch(("a",)),)), Segment(1, (fork, join)))


@given(graphs())
@settings(max_examples=50)
def test_the_cut_is_deterministic(graph: tuple[Plan, dict[str, int]]) -> None:
    compiled, _ = graph
    roots = [ReadyStep(step.base, step.base) for step in compiled.steps if not step.needs]
    assert segments_for(compiled, roots) == segments_for(compiled, roots[::-1]) == compiled.first_segments


def _stages(compiled: Plan) -> list[tuple[object, ...]]:
    return [segment.stages for segment in compiled.first_segments]


def test_a_linear_stretch_is_one_segment() -> None:
    linear = plan({"a": [], "b": ["a"], "c": ["b"]})
    assert _stages(linear) == [(Stretch(("a", "b", "c")),)]


def test_an_exclusive_fork_join_is_one_segment_and_implied_edges_do_not_matter() -> None:
    stages = (Stretch(("a",)), Fork((("b1", "b2"), ("c",))), Stretch(("d", "e")))
    needs = {"a": [], "b1": ["a"], "b2": ["b1"], "c": ["a"], "d": ["b2", "c"], "e": ["d"]}
    assert _stages(plan(needs)) == [stages]
    assert _stages(plan({**needs, "d": ["a", "b2", "c"], "e": ["d", "c"]})) == [stages]


def test_roots_that_one_join_gathers_are_a_chord() -> None:
    assert _stages(plan({"a": [], "b": [], "x": ["a"], "j": ["x", "b"], "k": ["j"], "other": []})) == [
        (Fork((("a", "x"), ("b",))), Stretch(("j", "k"))),
        (Stretch(("other",)),),
    ]


def test_forks_follow_forks_while_the_canvas_stays_small() -> None:
    needs: dict[str, list[str]] = {"a": []}
    joins = ["a", *"jklmno"]
    for before, join in pairwise(joins):
        header = [f"{join}{n}" for n in range(4)]
        needs |= {key: [before] for key in header} | {join: header}
    (segment,) = plan(needs).first_segments
    assert [type(stage) for stage in segment.stages] == [Stretch, *[Fork, Stretch] * 4]
    assert segment.keys[-1] == "m"


def test_a_wide_fork_is_left_to_be_dealt_out_when_it_is_ready() -> None:
    header = [f"b{n}" for n in range(MAX_CARRIED + 1)]
    wide = plan({"a": [], **{key: ["a"] for key in header}, "j": header, "k": ["j"]})
    assert _stages(wide) == [(Stretch(("a",)),)]
    (chord,) = segments_for(wide, [ReadyStep(key, key) for key in header])
    assert chord.stages == (Fork(tuple((key,) for key in header)), Stretch(("j", "k")))


def test_what_is_not_exclusive_travels_alone() -> None:
    crossing = plan({"a": [], "b": [], "c": ["a", "b"], "d": ["b"]})
    assert _stages(crossing) == [(Stretch(("a",)),), (Stretch(("b",)),)]


def test_headers_and_stretches_are_capped() -> None:
    wide = plan({"a": [], **{f"b{n}": ["a"] for n in range(501)}, "j": [f"b{n}" for n in range(501)]})
    assert _stages(wide) == [(Stretch(("a",)),)]
    ready = [ReadyStep(f"b{n}", f"b{n}") for n in range(501)]
    assert {len(segment.keys) for segment in segments_for(wide, ready)} == {1}
    long = plan({f"s{n}": [f"s{n - 1}"] if n else [] for n in range(200)})
    assert len(long.first_segments[0].keys) == MAX_STRETCH


def test_items_of_a_fan_are_a_chord_when_one_plain_step_needs_the_fan_alone() -> None:
    compiled = plan({"list": [], "each": ["list"], "sum": ["each"], "end": ["sum"]}, fans=["each"])
    assert _stages(compiled) == [(Stretch(("list",)),)]
    items = [ReadyStep(f"each.{n}", "each", n) for n in (2, 0, 1)]
    body = Stretch(("sum", "end"))
    chord = Segment(1, (Fork((("each.0",), ("each.1",), ("each.2",))), body))
    assert segments_for(compiled, items, {"each": 3}) == (chord,)
    assert segments_for(compiled, items[1:2], {"each": 1}) == (
        Segment(1, (Stretch(("each.0", "sum", "end")),)),
    )
    # One of three items is tried again: the transaction that finishes the last one releases the sum.
    assert segments_for(compiled, items[:1], {"each": 3}) == (Segment(1, (Stretch(("each.2",)),)),)


def test_a_ready_step_behind_another_is_carried_once() -> None:
    linear = plan({"a": [], "b": ["a"], "c": ["b"], "d": ["c"]})
    again = segments_for(linear, [ReadyStep("a", "a"), ReadyStep("c", "c")])
    assert [segment.keys for segment in again] == [("a", "b"), ("c", "d")]


def test_restrict_never_leaves_a_step_behind_a_gap() -> None:
    needs = {"a": [], "b1": ["a"], "b2": ["b1"], "c": ["a"], "d": ["b2", "c"], "e": ["d"]}
    (whole,) = plan(needs).first_segments
    every = frozenset(whole.keys)
    assert restrict([whole], every) == (whole,)
    assert [cut.keys for cut in restrict([whole], every - {"e"})] == [("a", "b1", "b2", "c", "d")]
    assert [cut.keys for cut in restrict([whole], every - {"d"})] == [("a",)]
    assert [cut.keys for cut in restrict([whole], every - {"b2"})] == [("a",)]
    assert restrict([whole], every - {"a"}) == ()
    (roots,) = plan({"a": [], "b": [], "j": ["a", "b"]}).first_segments
    assert [cut.keys for cut in restrict([roots], {"a", "j"})] == [("a",)]
    assert [cut.keys for cut in restrict([roots], {"a", "b"})] == [("a",), ("b",)]
