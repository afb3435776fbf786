"""The serialised canvas equals a golden file, which Celery's own operators would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, group, signature
from celery.canvas import Signature

from tests.unit.workflows.shapes import bind, plan
from workflows.canvas import Bind, canvas_of
from workflows.segments import ReadyStep, segments_for

GOLDEN = Path(__file__).parent / "golden"
LINEAR = plan({"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["d"]})
FORK_JOIN = plan({"a": [], "b1": ["a"], "b2": ["b1"], "c": ["a"], "d": ["b2", "c"], "e": ["d"]})
ROOTS = plan({"a": [], "b": [], "j": ["a", "b"]})
FAN = plan({"each": [], "sum": ["each"], "end": ["sum"]}, fans=["each"])
ITEMS = [ReadyStep(f"each.{n}", "each", n) for n in range(3)]


def _own(key: str, of: Bind) -> Signature:
    message = of(key)
    return signature("quantum.step", args=message.args, immutable=True, **message.options)


def _canvases() -> dict[str, tuple[Signature, Signature]]:
    """Each shape as we build it, and as a Celery user would write it."""

    def s(of: Bind, *keys: str) -> Any:
        return chain(*(_own(key, of) for key in keys)) if len(keys) > 1 else _own(keys[0], of)

    line, fork, roots = bind(LINEAR), bind(FORK_JOIN), bind(ROOTS)
    fan = bind(FAN, "each.0", "each.1", "each.2")
    (items,) = segments_for(FAN, ITEMS, {"each": 3})
    return {
        "linear": (canvas_of(LINEAR.first_segments[0], line), s(line, *"abcde")),
        "fork_join": (
            canvas_of(FORK_JOIN.first_segments[0], fork),
            chain(s(fork, "a"), group(s(fork, "b1", "b2"), s(fork, "c")), s(fork, "d"), s(fork, "e")),
        ),
        "roots_join": (
            canvas_of(ROOTS.first_segments[0], roots),
            group(s(roots, "a"), s(roots, "b")) | s(roots, "j"),
        ),
        "fan_join": (
            canvas_of(items, fan),
            group(s(fan, "each.0"), s(fan, "each.1"), s(fan, "each.2")) | s(fan, "sum") | s(fan, "end"),
        ),
    }


@pytest.mark.parametrize("shape", ["linear", "fork_join", "roots_join", "fan_join"])
def test_the_canvas_equals_its_golden_and_what_celery_builds(shape: str) -> None:
    ours, theirs = _canvases()[shape]
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs))
    assert json.loads(json.dumps(ours)) == json.loads((GOLDEN / f"{shape}.json").read_text())


def test_a_canvas_carries_ids_only() -> None:
    text = json.dumps(canvas_of(FORK_JOIN.first_segments[0], bind(FORK_JOIN)))
    for customer_data in ("with", "spec", "needs"):
        assert f'"{customer_data}"' not in text


@pytest.mark.parametrize(
    ("shape", "sent"),
    [("linear", ["a"]), ("fork_join", ["a"]), ("roots_join", ["a", "b"]), ("fan_join", None)],
)
def test_celery_sends_it_with_our_ids_names_and_limits(
    shape: str, sent: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery("test", broker="memory://", backend="cache+memory://")
    messages: list[Any] = []
    monkeypatch.setattr(
        app.amqp, "send_task_message", lambda _producer, _name, message, **_: messages.append(message)
    )
    canvas = Signature.from_dict(json.loads(json.dumps(_canvases()[shape][0])), app=app)
    canvas.apply_async()
    keys = [message.headers["id"].split(":")[1] for message in messages]
    assert keys == (sent or ["each.0", "each.1", "each.2"])
    for message in messages:
        assert message.headers["shadow"] == "toy.do"
        assert message.headers["timelimit"] == [None, None], "each step has its own, wherever it travels"
        assert list(message.body[0][2:]) == [message.headers["id"].split(":")[1], 1]
        assert bool(message.body[2]["chord"]) == (shape in {"roots_join", "fan_join"})
