"""Chains on their way to the broker: the messages are Celery's own, made at less cost."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery.app.task import Context
from celery.canvas import Signature, chord, signature

from app.messaging.celery_app import MESSAGES, QuantumCelery
from app.messaging.chains import links_of
from app.messaging.producer import CanvasProducer
from app.messaging.queues import step_queue
from workflows.canvas import canvas_of, message_of
from workflows.segments import Fork, Segment, Stretch

RUN = UUID(int=1), UUID(int=2)
BROKER = "memory://"


def bind(key: str) -> Signature:
    return message_of(RUN, key, 3, None, "default", "core.echo")


@pytest.fixture
def app() -> Iterator[QuantumCelery]:
    app = QuantumCelery("quantum", set_as_current=False)
    queues = [step_queue("default", BROKER)]
    app.conf.update(broker_url=BROKER, result_backend="cache+memory://", task_queues=queues, **MESSAGES)
    yield app
    app.close()


def sent_by_us(app: QuantumCelery, canvas: Signature) -> dict[str, Any]:
    link: Any = SimpleNamespace(current=lambda: "epoch", broke=lambda: None)
    CanvasProducer(app, link).send([canvas])
    return taken(app)


def sent_by_celery(app: QuantumCelery, canvas: Signature) -> dict[str, Any]:
    with app.producer_or_acquire() as producer:
        signature(dict(canvas), app=app).apply_async(producer=producer)
    message = taken(app)
    # Celery takes it from the task where the process knows that, as another test may have let it.
    assert message["headers"].pop("ignore_result") in (None, True)
    return {**message, "headers": {**message["headers"], "ignore_result": True}}


def taken(app: QuantumCelery) -> dict[str, Any]:
    """The one message in the queue, without what is new in each and without the address for results."""
    with app.connection_for_read() as connection:
        message = step_queue("default", BROKER)(connection.default_channel).get(no_ack=True)
    assert message is not None
    body = message.decode()
    for link in body[2]["chain"] or ():
        link["options"].pop("reply_to", None)
    told = {
        name: value for name, value in message.properties.items() if name not in ("reply_to", "delivery_tag")
    }
    return {"body": body, "headers": message.headers, "properties": told}


@pytest.mark.parametrize("keys", [("a",), ("a", "b"), ("a", "b", "c", "d", "e")])
def test_a_chain_is_the_message_that_celery_would_send(app: QuantumCelery, keys: tuple[str, ...]) -> None:
    segment = Segment(0, (Stretch(keys),))
    ours = sent_by_us(app, canvas_of(segment, bind))
    assert ours == sent_by_celery(app, canvas_of(segment, bind))
    assert [link["args"][2] for link in ours["body"][2]["chain"] or ()] == list(reversed(keys[1:]))


def test_a_chain_sent_by_a_step_belongs_to_its_canvas(
    app: QuantumCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = Segment(0, (Stretch(("a", "b")),))
    task = SimpleNamespace(request=Context(id="now", root_id="first"), add_trail=lambda _: None)
    monkeypatch.setattr(QuantumCelery, "current_worker_task", task)
    ours = sent_by_us(app, canvas_of(segment, bind))
    assert ours == sent_by_celery(app, canvas_of(segment, bind))
    assert (ours["headers"]["root_id"], ours["headers"]["parent_id"]) == ("first", "now")


def test_what_celery_counts_is_left_to_celery() -> None:
    fork = Segment(0, (Fork((("a",), ("b",))), Stretch(("join",))))
    assert links_of(canvas_of(fork, bind)) is None
    counted = bind("a").set(chord={"task": "join"}, group_id="g")
    assert links_of(counted) is None
    assert links_of(chord([bind("a")], bind("b"))) is None
    assert links_of(canvas_of(Segment(0, (Stretch(("a", "b")),)), bind)) is not None
