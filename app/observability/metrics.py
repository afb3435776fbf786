"""The declaration of every metric: name, unit, labels, help."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)

REGISTRY = CollectorRegistry()
"""The metrics of this process. No label ever holds a tenant, a run or a user: their number has no bound."""

API_REQUESTS = Counter(
    "quantum_api_requests_total", "Requests answered", ("route", "method", "status"), registry=REGISTRY
)
API_SECONDS = Histogram(
    "quantum_api_request_seconds",
    "From a request's arrival to its answer",
    ("route", "method"),
    buckets=FAST,
    registry=REGISTRY,
)
STEPS_FINISHED = Counter(
    "quantum_steps_finished_total", "Attempts that ended", ("operation", "outcome"), registry=REGISTRY
)
STEP_SECONDS = Histogram(
    "quantum_step_seconds",
    "From the claim of a step to its finish",
    ("operation",),
    buckets=SLOW,
    registry=REGISTRY,
)
RUNS_FINISHED = Counter("quantum_runs_finished_total", "Runs that ended", ("state",), registry=REGISTRY)
RECOVERIES = Counter(
    "quantum_recoveries_total",
    "Steps taken up again: dead child, dead worker, lost message, unsent",
    ("reason",),
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "quantum_queue_depth_messages",
    "Messages that wait in the broker",
    ("queue",),
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
EVENTS_PUBLISHED = Counter(
    "quantum_relay_events_published_total", "Events delivered to a sink", ("sink",), registry=REGISTRY
)
EVENTS_DEAD = Counter(
    "quantum_relay_events_dead_total", "Events a sink refused for good", ("sink",), registry=REGISTRY
)
RELAY_FAILURES = Counter(
    "quantum_relay_failures_total", "Deliveries that failed and are repeated", ("sink",), registry=REGISTRY
)
RELAY_LAG = Gauge(
    "quantum_relay_lag_seconds",
    "Age of the oldest event that a sink has not got",
    ("sink",),
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
FEED_STREAMS = Gauge(
    "quantum_feed_streams",
    "Open streams of the live feed",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
FEED_EVENTS = Counter("quantum_feed_events_total", "Events written to streams", registry=REGISTRY)
FEED_CUT = Counter(
    "quantum_feed_streams_ended_total",
    "Streams that ended: left by the client, expired, revoked, stalled",
    ("reason",),
    registry=REGISTRY,
)

TRIGGERS_FIRED = Counter(
    "quantum_triggers_fired_total",
    "Events (source events), messages (inbound) that a trigger decided: fired, skipped, failed",
    ("source", "outcome"),
    registry=REGISTRY,
)
WEBHOOK_ATTEMPTS = Counter(
    "quantum_webhook_attempts_total",
    "Attempts to deliver: delivered, retried, dead, gone",
    ("outcome",),
    registry=REGISTRY,
)
WEBHOOK_SECONDS = Histogram(
    "quantum_webhook_attempt_seconds",
    "From an attempt's start to its answer",
    buckets=FAST,
    registry=REGISTRY,
)
WEBHOOK_LAG = Gauge(
    "quantum_webhook_lag_seconds",
    "How long the longest overdue queue of a webhook waits",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
WEBHOOK_BREAKERS = Gauge(
    "quantum_webhook_open_breakers",
    "Endpoints that are left alone, or asked once to see",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
FLAG_DECISIONS = Counter(
    "quantum_flag_decisions_total", "Feature flags asked for", ("flag", "variant"), registry=REGISTRY
)
TRACE_SPANS = Counter(
    "quantum_trace_spans_total",
    "Spans by what became of them: sent, or lost because the destination was away",
    ("destination", "outcome"),
    registry=REGISTRY,
)


def render_metrics() -> bytes:
    """Return the metrics in Prometheus' text form, of type `CONTENT_TYPE`.

    When PROMETHEUS_MULTIPROC_DIR names a folder, which prometheus_client reads by itself, they cover all
    processes of this machine that share it, pool children included; else this process alone.
    """
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # the library does not annotate it
    except ValueError:
        # No shared folder is configured: the library has no gentler way to say so.
        return generate_latest(REGISTRY)
    return generate_latest(shared)
