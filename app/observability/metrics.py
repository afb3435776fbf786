"""The declaration of every metric: name, unit, labels, help."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
"""0.05 and 0.2 are bounds of service levels, so they must be bounds of buckets."""
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)

REGISTRY = CollectorRegistry()
"""The metrics of this process. No label ever holds a run or a user, whose number has no bound; of tenants
only those that use most, as many as METRICS_TENANTS says."""

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

DB_CONNECTIONS = Gauge(
    "quantum_db_connections",
    "Connections in the pools of all processes: used, idle",
    ("role", "state"),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
DB_POOL_LIMIT = Gauge(
    "quantum_db_connections_limit",
    "Connections that the pools of all processes may open",
    ("role",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
DB_POOL_EXHAUSTED = Counter(
    "quantum_db_pool_exhausted_total", "Waits for a connection that were given up", registry=REGISTRY
)
WORKER_PROCESSES = Gauge(
    "quantum_worker_processes",
    "Pool processes of workers: busy, idle",
    ("state",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
BROKER_RECONNECTS = Counter(
    "quantum_broker_reconnects_total",
    "Connections to the broker made anew: of consumers (workers), of senders",
    ("side",),
    registry=REGISTRY,
)
BREAKERS_OPEN = Gauge(
    "quantum_breakers_open",
    "Circuit breakers that are open now, of all processes",
    ("dependency",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
BREAKER_OPENINGS = Counter(
    "quantum_breaker_openings_total", "Times a circuit breaker opened", ("dependency",), registry=REGISTRY
)
PROCESSES = Gauge(
    "quantum_processes", "Processes that live", ("process",), multiprocess_mode="livesum", registry=REGISTRY
)
PROCESS_CPU = Counter(
    "quantum_process_cpu_seconds_total", "Processor time used", ("process",), registry=REGISTRY
)
PROCESS_MEMORY = Gauge(
    "quantum_process_memory_bytes",
    "Memory in use; what processes share is counted in each",
    ("process",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
PROCESS_THREADS = Gauge(
    "quantum_process_threads", "Threads", ("process",), multiprocess_mode="livesum", registry=REGISTRY
)
PROCESS_FILES = Gauge(
    "quantum_process_open_files",
    "Open files with sockets",
    ("process",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)

REPLICA_READS = Counter(
    "quantum_replica_reads_total",
    "Reads where a replica is set up: by the server asked, why this one",
    ("server", "reason"),
    registry=REGISTRY,
)
REPLICA_LAG = Gauge(
    "quantum_replica_lag_seconds",
    "How many seconds of commits the replica may lack, +Inf while that is not known",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
CACHE_LOOKS = Counter(
    "quantum_cache_looks_total",
    "Looks into a cache of a process: hit, miss",
    ("cache", "outcome"),
    registry=REGISTRY,
)


class CacheLooks:
    """Counts the looks into one cache."""

    def __init__(self, cache: str) -> None:
        self._hits, self._misses = (CACHE_LOOKS.labels(cache, outcome) for outcome in ("hit", "miss"))

    def count(self, *, hit: bool) -> None:
        """Count one look."""
        (self._hits if hit else self._misses).inc()


class Read(NamedTuple):
    """A metric that is read for each scrape: its help, its label if it has one, what it is."""

    text: str
    label: str = ""
    kind: Literal["gauge", "counter"] = "gauge"


PLATFORM: dict[str, Read] = {
    "quantum_queue_steps": Read("Steps sent that no worker has taken, 10,000 at most", "queue"),
    "quantum_queue_oldest_seconds": Read(
        "How long the oldest of them has waited: scale workers by it", "queue"
    ),
    "quantum_queue_demand_slots": Read(
        "Slots that would be busy if there were enough, 30,000 at most: how far to scale", "queue"
    ),
    "quantum_queue_slots": Read("Pool processes that live workers offer", "queue"),
    "quantum_queue_slots_busy": Read("Those that execute a step, 10,000 at most", "queue"),
    "quantum_unsent_oldest_seconds": Read("How long the oldest ready step has waited to be sent"),
    "quantum_schedule_lag_seconds": Read("How late the longest overdue schedule is"),
    "quantum_beat_lane_age_seconds": Read("How long ago any beat began a job of the lane", "lane"),
    "quantum_workers": Read(
        "Workers by whether their heartbeat comes: live, silent, lost (dead, none of its name came)", "state"
    ),
    "quantum_backup_age_seconds": Read(
        "Age of the latest verified backup, or of the first try while none is; absent without any"
    ),
    "quantum_base_backup_age_seconds": Read(
        "Age of the latest verified base backup since when the log is whole, else of the log; absent without"
    ),
    "quantum_wal_slot_bytes": Read("Write-ahead log that the server keeps for a replication slot", "slot"),
    "quantum_wal_slots": Read(
        "Replication slots by whether somebody reads them: read, unread, lost", "state"
    ),
    "quantum_dead_events": Read("Events that a sink will not get, 10,000 at most", "sink"),
    "quantum_tenants": Read("Tenants: active, suspended", "state"),
    "quantum_tenant_day_runs": Read("Runs that ended today (UTC), of those tenants that use most", "tenant"),
    "quantum_tenant_day_step_seconds": Read("Time that their steps took", "tenant"),
    "quantum_tenant_day_events": Read("Events of theirs", "tenant"),
    "quantum_tenant_day_event_bytes": Read("What these events measure", "tenant"),
    "quantum_flag_tenants": Read("Active tenants that a feature flag is on for, 10,000 at most", "flag"),
    "quantum_host_cpu_seconds_total": Read("Time of the processors by what they did", "mode", "counter"),
    "quantum_host_disk_bytes_total": Read("Bytes of the disks: read, written", "direction", "counter"),
    "quantum_host_disk_free_ratio": Read("Free part of the disk under the state directory"),
    "quantum_host_load_ratio": Read("Load of the last minute for each processor"),
    "quantum_host_memory_free_ratio": Read("Part of the memory that can still be had"),
    "quantum_host_network_bytes_total": Read(
        "Bytes of all interfaces but loopback: received, sent", "direction", "counter"
    ),
}
"""What is read for each scrape: what rows tell is the same on every host."""


@dataclass(slots=True)
class _Place:
    folder: Path | None = None


_PLACE = _Place()


def share_metrics(folder: Path | None) -> None:
    """Tell where PROMETHEUS_MULTIPROC_DIR lets all processes of this machine put their metrics."""
    _PLACE.folder = folder


class _Scraped(Collector):
    """Gauges that were read for this scrape."""

    def __init__(self, gauges: Iterable[tuple[str, str, float]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each name."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, label, value in self._gauges:
            if name not in families:
                families[name] = _family(name, PLATFORM[name])
            families[name].add_metric([label] if PLATFORM[name].label else [], value)
        yield from families.values()


class _Everything(Collector):
    """All that the processes of this machine have counted."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the folder that they share, or of this process."""
        _forget_the_dead()
        shared = CollectorRegistry()
        try:
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # the library does not annotate it
        except ValueError:
            # No shared folder is configured: the library has no gentler way to say so.
            yield from REGISTRY.collect()
        else:
            yield from shared.collect()


def render_metrics(read: Iterable[tuple[str, str, float]] = ()) -> bytes:
    """Return the metrics in Prometheus' text form, of type `CONTENT_TYPE`, with what was read for it.

    When PROMETHEUS_MULTIPROC_DIR names a folder, which prometheus_client reads by itself, they cover all
    processes of this machine that share it, pool children included; else this process alone.
    """
    return generate_latest(_registry(_Everything())) + generate_latest(_registry(_Scraped(list(read))))


def serve_metrics(host: str, port: int) -> None:
    """Serve the metrics at a port of their own, by a thread: for processes that serve nothing else."""
    start_http_server(port, host, _registry(_Everything()))


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def _family(name: str, read: Read) -> CounterMetricFamily | GaugeMetricFamily:
    made = CounterMetricFamily if read.kind == "counter" else GaugeMetricFamily
    return made(name, read.text, labels=[read.label] if read.label else [])


def _forget_the_dead() -> None:
    """Remove what processes that are gone said of themselves, of which the library would go on to tell."""
    for file in _PLACE.folder.glob("gauge_live*_*.db") if _PLACE.folder is not None else ():
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            continue  # it lives, under another user
