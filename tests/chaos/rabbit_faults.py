"""The faults of RabbitMQ as the broker."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from kombu import Connection

from tests.chaos.faults import Fault, Look, pause
from tests.chaos.scene import Held, Scene
from tests.services.rabbitmq import RabbitNode

QUEUE = "default"


def server_of(scene: Scene) -> RabbitNode:
    """Return the broker of a run over RabbitMQ."""
    if scene.rabbit is None:
        raise RuntimeError("this run has no RabbitMQ")
    return scene.rabbit


def killed(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill RabbitMQ, start it on what it had written."""
    server = server_of(scene)
    server.kill()
    server.start()
    return scene.moved(held)


def purged(scene: Scene, held: Sequence[Held]) -> Look:
    """Empty the queue of steps."""
    with Connection(server_of(scene).url) as connection, connection.channel() as channel:
        channel.queue_purge(QUEUE)
    return scene.moved(held)


def deleted(scene: Scene, held: Sequence[Held]) -> Look:
    """Take the queue away from those that listen to it."""
    with Connection(server_of(scene).url) as connection, connection.channel() as channel:
        channel.queue_delete(QUEUE)
    return scene.moved(held)


def away(scene: Scene, held: Sequence[Held]) -> Look:
    """Freeze RabbitMQ."""
    server = server_of(scene)
    server.signal(signal.SIGSTOP)
    try:
        pause(scene.valkey_away_s)
    finally:
        server.signal(signal.SIGCONT)
    return scene.moved(held)


def memory_full(scene: Scene, held: Sequence[Held]) -> Look:
    """Let RabbitMQ block whoever publishes, for want of memory."""
    server = server_of(scene)
    server.control("set_vm_memory_high_watermark", "0.00001")
    try:
        pause(scene.brief_s)
    finally:
        server.control("set_vm_memory_high_watermark", "0.4")
    return scene.moved(held)


RABBIT_FAULTS = (
    Fault("RabbitMQ killed", killed),
    Fault("RabbitMQ queue purged", purged),
    Fault("RabbitMQ queue deleted", deleted),
    Fault("RabbitMQ away", away),
    Fault("RabbitMQ memory full", memory_full),
)
