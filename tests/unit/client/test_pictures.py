"""Pictures of runs: escaped, quick, with the critical path."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from app.client.gantt_pictures import GANTTS, gantt_svg, ticks
from app.client.graph_pictures import GRAPHS, graph_dot, graph_mermaid, graph_svg
from app.client.layout import place
from app.client.portrait import portray, seconds
from app.client.progress import depths

START = datetime(2026, 11, 27, tzinfo=UTC)
EVIL = "<script>alert('x')</script>\"&]]>\x00"
SVG = "{http://www.w3.org/2000/svg}"


def run_of(steps: dict[str, tuple[float, float, list[str]]], **more: Any) -> dict[str, Any]:
    """Return the document of a run whose steps began, ended, needed what is said."""
    rows = [
        {
            "key": key,
            "base": key,
            "item": None,
            "state": "succeeded",
            "operation": "core.echo",
            "attempt": 1,
            "tries": 1,
            "needs": needs,
            "started_at": (START + timedelta(seconds=began)).isoformat(),
            "finished_at": (START + timedelta(seconds=ended)).isoformat(),
        }
        for key, (began, ended, needs) in steps.items()
    ]
    edges = [
        {"source": need, "target": key, "on": "success"} for key, (_, _, of) in steps.items() for need in of
    ]
    return {
        "id": "r",
        "state": "succeeded",
        "workflow": {"name": "w", "version": 1},
        "created_at": START.isoformat(),
        "started_at": START.isoformat(),
        "finished_at": (START + timedelta(seconds=60)).isoformat(),
        "graph": {"nodes": list(steps), "edges": edges},
        "steps": rows,
        **more,
    }


def portrait_of(run: dict[str, Any]) -> Any:
    return portray(run, run["steps"], START + timedelta(seconds=100))


def test_the_critical_path_is_what_the_end_waited_for() -> None:
    run = run_of(
        {
            "a": (0, 5, []),
            "b": (0, 9, []),
            "c": (9, 10, ["a", "b"]),
            "d": (10, 40, ["c"]),
            "e": (10, 60, ["a"]),
        }
    )
    assert portrait_of(run).critical_path == ("a", "e")
    run["steps"][3]["finished_at"] = (START + timedelta(seconds=61)).isoformat()
    portrait = portrait_of(run)
    assert portrait.critical_path == ("b", "c", "d")
    assert {edge.source for edge in portrait.edges if edge.critical} == {"b", "c"}
    assert [bar.key for bar in portrait.bars if bar.critical] == ["b", "c", "d"]


def test_what_runs_lasts_until_now_what_waits_has_no_bar() -> None:
    run = run_of({"a": (0, 5, []), "b": (5, 0, ["a"]), "c": (0, 0, ["b"])}, state="running", finished_at=None)
    run["steps"][1] |= {"state": "running", "finished_at": None}
    run["steps"][2] |= {"state": "pending", "started_at": None, "finished_at": None}
    portrait = portrait_of(run)
    assert (portrait.span, portrait.bars[1].ended, portrait.bars[2].ended) == (100.0, 100.0, None)
    assert portrait.critical_path == ("a", "b")
    told = [title.text or "" for title in ElementTree.fromstring(gantt_svg(portrait)).iter(f"{SVG}title")]
    assert "c: pending, has not begun" in told


@pytest.mark.parametrize("draw", [graph_svg, gantt_svg])
def test_names_are_text_never_markup(draw: Any) -> None:
    run = run_of({EVIL: (0, 5, []), "b": (5, 6, [EVIL])}, workflow={"name": EVIL, "version": EVIL})
    run["steps"][0] |= {"operation": EVIL, "state": EVIL}
    drawn = draw(portrait_of(run))
    assert "<script" not in drawn
    tree = ElementTree.fromstring(drawn)
    assert not [
        each for each in tree.iter() if each.tag.removeprefix(SVG) in ("script", "foreignObject", "a")
    ]
    assert not [name for each in tree.iter() for name in each.attrib if name.startswith("on")]
    words = "".join(tree.itertext())
    assert "<script>alert('x')</script>\"&]]>\ufffd" in words
    assert not [each for each in tree.iter() for value in each.attrib.values() if "http" in value]


def test_names_are_text_in_mermaid_and_dot_too() -> None:
    run = run_of({EVIL: (0, 5, []), 'b"];x': (5, 6, [EVIL])}, workflow={"name": f"w\n{EVIL}", "version": 1})
    drawn = graph_mermaid(portrait_of(run))
    assert "<script" not in drawn
    assert drawn.count('"') == 2 * 2, "only the quotes around the labels"
    assert all(line.startswith((" ", "flowchart")) for line in drawn.splitlines())
    dot = graph_dot(portrait_of(run)).splitlines()
    assert [line for line in dot if not line.startswith(("  ", "digraph", "}"))] == []
    gantt = GANTTS["mermaid"](portrait_of(run))
    assert "<" not in gantt
    assert ";" not in gantt


def test_pictures_have_words_for_those_who_do_not_see_them() -> None:
    tree = ElementTree.fromstring(graph_svg(portrait_of(run_of({"a": (0, 5, []), "b": (5, 6, ["a"])}))))
    assert tree.get("role") == "img"
    named = {each.get("id"): each.text or "" for each in tree if each.get("id")}
    assert tree.get("aria-labelledby", "").split() == list(named)
    assert named["q-desc"] == "2 steps, 1 min 00 s; critical path: a → b"
    titles = [title.text for title in tree.iter(f"{SVG}title")]
    assert "b: succeeded. core.echo · 1.0 s. On the critical path." in titles
    assert "prefers-color-scheme:dark" in (tree.find(f"{SVG}style").text or "")  # type: ignore[union-attr]  # else it fails


@pytest.mark.parametrize("shape", ["chain", "fan", "layers"])
def test_a_thousand_steps_are_drawn_within_a_second(shape: str) -> None:
    steps: dict[str, tuple[float, float, list[str]]] = {}
    for number in range(1000):
        layer, row = divmod(number, 25)
        needs = {
            "chain": [f"s{number - 1}"] if number else [],
            "fan": ["s0"] if number else [],
            "layers": [f"s{(layer - 1) * 25 + (row + by) % 25}" for by in range(3)] if layer else [],
        }[shape]
        steps[f"s{number}"] = (number, number + 1, needs)
    if shape == "layers":
        steps["s999"] = (999, 1000, [f"s{number}" for number in range(0, 975, 25)])
    run = run_of(steps)
    began = time.process_time()
    portrait = portrait_of(run)
    for draw in (graph_svg, gantt_svg):
        assert len(draw(portrait)) > 100_000
    assert time.process_time() - began < 2.0, "a second each"


def test_every_form_is_drawn_of_a_run_that_has_nothing_yet() -> None:
    run = run_of({}, state="queued", started_at=None, finished_at=None)
    portrait = portray(run, (), START)
    for forms in (GRAPHS, GANTTS):
        for draw in forms.values():
            assert draw(portrait)
    assert json.loads(GRAPHS["json"](portrait))["nodes"] == []


def test_nodes_of_a_layer_do_not_overlap_edges_go_forward() -> None:
    nodes = [f"n{number}" for number in range(30)]
    edges = [(f"n{number // 3}", f"n{number}") for number in range(1, 30)] + [("n0", "n29"), ("n5", "gone")]
    layout = place(nodes, edges, width=10, height=4, between=5)
    assert len(set(layout.places.values())) == len(nodes)
    for one in nodes:
        for other in nodes:
            if one < other and layout.layer[one] == layout.layer[other]:
                assert abs(layout.places[one][1] - layout.places[other][1]) >= 4
    assert all(layout.layer[source] < layout.layer[target] for source, target in layout.bends)
    assert len(layout.bends["n0", "n29"]) == layout.layer["n29"] - 1


def test_depths_hold_long_chains_and_circles() -> None:
    assert depths({"a": ["b"], "b": ["a"], "c": []})["c"] == 0
    chain = {f"{number}": [f"{number - 1}"] if number else [] for number in range(5000)}
    assert depths(chain)["4999"] == 4999


@pytest.mark.parametrize(
    ("value", "words"), [(0.85, "850 ms"), (12.34, "12.3 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_for_people(value: float, words: str) -> None:
    assert seconds(value) == words


@pytest.mark.parametrize("span", [0.0, 0.003, 0.9, 12.0, 61.0, 700.0, 9000.0, 400_000.0])
def test_the_axis_has_few_round_moments(span: float) -> None:
    found = ticks(span)
    assert found[0] == 0
    assert found[-1] <= max(span, 0)
    assert len(found) <= 9
