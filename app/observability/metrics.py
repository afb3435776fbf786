"""The declaration of every metric: name, unit, labels, help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

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


DB_SECONDS = Histogram(
    "quantum_db_seconds",
    "From a single statement to its answer",
    ("role",),
    buckets=FAST,
    registry=REGISTRY,
)

PLATFORM: dict[str, tuple[str, str]] = {
    "quantum_queue_steps": ("Steps sent that no worker has taken, 10,000 at most", "queue"),
    "quantum_queue_oldest_seconds": ("How long the oldest of them has waited: scale workers by it", "queue"),
    "quantum_unsent_oldest_seconds": ("How long the oldest ready step has waited to be sent", ""),
    "quantum_schedule_lag_seconds": ("How late the longest overdue schedule is", ""),
    "quantum_workers": ("Workers by whether their heartbeat comes: live, silent", "state"),
    "quantum_dead_events": ("Events that a sink will not get, 10,000 at most", "sink"),
    "quantum_host_disk_free_ratio": ("Free part of the disk under the state directory", ""),
    "quantum_host_load_ratio": ("Load of the last minute for each processor", ""),
    "quantum_host_memory_free_ratio": ("Part of the memory that can still be had", ""),
}
"""Help and label of the gauges read at a scrape: those of rows are the same on every host."""


class _Scraped(Collector):
    """Gauges that were read for this scrape."""

    def __init__(self, gauges: Iterable[tuple[str, str, float]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each name."""
        families: dict[str, GaugeMetricFamily] = {}
        for name, label, value in self._gauges:
            text, labelled = PLATFORM[name]
            family = families.setdefault(
                name, GaugeMetricFamily(name, text, labels=[labelled] if labelled else [])
            )
            family.add_metric([label] if labelled else [], value)
        yield from families.values()


def render_metrics(gauges: Iterable[tuple[str, str, float]] = ()) -> bytes:
    """Return the metrics in Prometheus' text form, of type `CONTENT_TYPE`.

    When PROMETHEUS_MULTIPROC_DIR names a folder, which prometheus_client reads by itself, they cover all
    processes of this machine that share it, pool children included; else this process alone.
    """
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # the library does not annotate it
    except ValueError:
        # No shared folder is configured: the library has no gentler way to say so.
        return generate_latest(REGISTRY) + _scraped(gauges)
    return generate_latest(shared) + _scraped(gauges)


def _scraped(gauges: Iterable[tuple[str, str, float]]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Scraped(list(gauges)))
    return generate_latest(registry)
