"""The Celery application, made from the settings."""

from __future__ import annotations

from typing import Any

from celery import Celery

from app.messaging.queues import is_amqp, step_queue
from app.settings import Settings

STEP_TASK = "quantum.step"
TASK_MODULES = ("tasks.steps",)
WORKER_STEP = "tasks.heartbeat:HeartStep"
EVENTS = "app.messaging.events:BatchedEvents"
REDIS_TRANSPORT = "app.messaging.redis_transport:Transport"
AMQP_TRANSPORT = "app.messaging.amqp_transport:Transport"
AMQPS_TRANSPORT = "app.messaging.amqp_transport:SSLTransport"
CONSUMER = "app.messaging.queues:StepConsumer"
COUNTER = "app.messaging.chord_counter:ChordCounter"
RESULTS_EXPIRE_S = 24 * 3600


class QuantumCelery(Celery):
    """Celery with a place for what the tasks of this process use, and for the heart of a worker."""

    container: Any = None
    heart: Any = None
    amqp_cls = "app.messaging.queues:StepAmqp"


def create_celery(settings: Settings, *, socket_timeout_s: float = 5.0) -> QuantumCelery:
    """Return the application of one process; nothing connects before the first message.

    `socket_timeout_s` bounds each broker command; a broker that hangs costs a sender no more than that.
    """
    app = QuantumCelery("quantum", set_as_current=True)
    app.conf.update(
        broker_url=settings.broker_url,
        result_backend=f"{COUNTER}+{settings.result_url}",
        include=TASK_MODULES,
        worker_concurrency=settings.worker_concurrency,
        task_queues=[step_queue(name, settings.broker_url) for name in settings.worker_queues],
        **_transport(settings.broker_url, socket_timeout_s, settings.redelivery_after_s),
        **MESSAGES,
        **WORKER,
    )
    app.steps["worker"].add(WORKER_STEP)
    app.events.dispatcher_cls = EVENTS
    app.set_default()
    return app


MESSAGES: dict[str, Any] = {
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "task_default_queue": "default",
    "task_ignore_result": True,  # rows are the truth; a chord counts its header without stored results
    "result_expires": RESULTS_EXPIRE_S,
    "task_publish_retry": False,  # what cannot be sent now is sent by the dispatcher
    "task_send_sent_event": False,
    "task_soft_time_limit": None,
    "enable_utc": True,
}

WORKER: dict[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": True,  # for Flower; in batches they cost next to nothing
    "worker_disable_rate_limits": True,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,  # a broker out of memory is no reason for a worker to end
    "event_queue_expires": 60.0,
}


def _transport(broker_url: str, socket_timeout_s: float, redelivery_s: int) -> dict[str, Any]:
    """Return the time-outs in the words of this broker."""
    results = {
        "redis_socket_timeout": socket_timeout_s,
        "redis_socket_connect_timeout": 2.0,
        "result_backend_transport_options": {"retry_policy": {"timeout": 2.0, "max_retries": 2}},
    }
    if is_amqp(broker_url):
        return {
            "broker_transport": AMQPS_TRANSPORT if broker_url.startswith("amqps") else AMQP_TRANSPORT,
            "broker_connection_timeout": 2.0,
            "broker_heartbeat": 10,
            "broker_transport_options": {
                "confirm_publish": True,
                "read_timeout": socket_timeout_s,
                "write_timeout": socket_timeout_s,
            },
            "worker_consumer": CONSUMER,
            "worker_detect_quorum_queues": True,
            **results,
        }
    options = {
        # Running steps are guarded by leases in PostgreSQL: a redelivery only meets a refused claim.
        "visibility_timeout": redelivery_s,
        "unacked_restore_interval": min(10, redelivery_s),
        "unacked_restore_throttle": 1,
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
    return {
        "broker_transport": REDIS_TRANSPORT,
        "broker_transport_options": options,
        "broker_connection_timeout": 2.0,
        **results,
    }
