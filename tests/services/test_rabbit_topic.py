"""The contract of sinks on RabbitMQ's topic exchange."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import uuid4

import pytest
from kombu import Connection, Exchange, Queue

from app.runtime.valkey import ValkeyServer
from tests.integration.relay.test_sinks import outbox  # noqa: F401 - a fixture
from tests.services.rabbitmq import RabbitNode, rabbitmq_node
from tests.support.outbox import A, B, OutboxRig
from tests.support.sinks.contract import SinkContract, rested
from tests.support.sinks.kits import RabbitKit

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitNode]:
    with rabbitmq_node() as node:
        yield node


class TestRabbitTopic(SinkContract):
    @pytest.fixture
    def kit(self, node: RabbitNode, valkey: ValkeyServer) -> Iterator[RabbitKit]:
        with contextlib.closing(RabbitKit(node, f"events-{uuid4().hex[:8]}")) as kit:
            yield kit

    def test_a_queue_gets_just_the_tenant_and_types_it_is_bound_to(
        self, rig: OutboxRig, kit: RabbitKit, node: RabbitNode
    ) -> None:
        sink = kit.sink()
        with Connection(node.url) as connection:
            exchange = Exchange(kit.exchange, type="topic", durable=True)
            queue = Queue("mine", exchange, f"{A}.run.*", auto_delete=True)(connection.default_channel)
            queue.declare()
            rig.emit(A, "runs/1", 1, 2)
            rig.emit(B, "runs/1", 1, 2)
            rested(rig.relay(sink=sink))
            found = [queue.get(no_ack=True) for _ in range(3)]
        assert found[2] is None
        assert [one.delivery_info["routing_key"] for one in found[:2]] == [f"{A}.run.started"] * 2
        assert {one.properties["delivery_mode"] for one in found[:2]} == {2}
        assert found[0].content_type == "application/cloudevents+json"
