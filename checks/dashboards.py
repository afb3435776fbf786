"""Compares Grafana's dashboards with their description here; `--write` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checks.report import ROOT

FOLDER = ROOT / "deploy" / "grafana"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, COLUMNS = 12, 8, 2


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: PromQL expressions with their legends; `unit` is Grafana's name of it."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def _p95(metric: str, by: str = "") -> str:
    return f"histogram_quantile(0.95, {_rate(metric + '_bucket', f'le, {by}' if by else 'le')})"


def _used(measure: str) -> tuple[str, str]:
    return f"max by (tenant) (quantum_tenant_day_{measure})", "{{tenant}}"


BOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "overview": (
        "Overview",
        (
            Panel("Requests", "reqps", ((_rate("quantum_api_requests_total", "status"), "{{status}}"),)),
            Panel("Requests, p95", "s", ((_p95("quantum_api_request_seconds", "route"), "{{route}}"),)),
            Panel("Runs that ended", "ops", ((_rate("quantum_runs_finished_total", "state"), "{{state}}"),)),
            Panel(
                "Steps that ended",
                "ops",
                ((_rate("quantum_steps_finished_total", "outcome"), "{{outcome}}"),),
            ),
            Panel("Schedules late", "s", (("max(quantum_schedule_lag_seconds)", "longest overdue"),)),
            Panel("Beat: age", "s", (("max by (lane) (quantum_beat_lane_age_seconds)", "{{lane}}"),)),
            Panel(
                "Backup: age",
                "s",
                (
                    ("max(quantum_backup_age_seconds)", "latest"),
                    ("max(quantum_base_backup_age_seconds)", "base"),
                ),
            ),
            Panel("Disk free", "percentunit", (("quantum_host_disk_free_ratio", "{{instance}}"),)),
            Panel("Load", "percentunit", (("quantum_host_load_ratio", "{{instance}}"),)),
            Panel("Memory free", "percentunit", (("quantum_host_memory_free_ratio", "{{instance}}"),)),
        ),
    ),
    "queues-workers": (
        "Queues and workers",
        (
            Panel("Steps that wait", "short", (("max by (queue) (quantum_queue_steps)", "{{queue}}"),)),
            Panel(
                "Age of the oldest", "s", (("max by (queue) (quantum_queue_oldest_seconds)", "{{queue}}"),)
            ),
            Panel(
                "Slots",
                "short",
                (
                    ("max by (queue) (quantum_queue_demand_slots)", "{{queue}}: could be busy"),
                    ("max by (queue) (quantum_queue_slots_busy)", "{{queue}}: busy"),
                    ("max by (queue) (quantum_queue_slots)", "{{queue}}: all"),
                ),
            ),
            Panel("Pool processes", "short", (("sum by (state) (quantum_worker_processes)", "{{state}}"),)),
            Panel("Ready, unsent: oldest", "s", (("max(quantum_unsent_oldest_seconds)", "oldest"),)),
            Panel("Workers", "short", (("max by (state) (quantum_workers)", "{{state}}"),)),
            Panel("Steps, p95", "s", ((_p95("quantum_step_seconds", "operation"), "{{operation}}"),)),
            Panel("Taken up again", "ops", ((_rate("quantum_recoveries_total", "reason"), "{{reason}}"),)),
        ),
    ),
    "database": (
        "Database",
        (
            Panel("Statements", "ops", ((_rate("quantum_db_seconds_count", "role"), "{{role}}"),)),
            Panel("Statements, p95", "s", ((_p95("quantum_db_seconds", "role"), "{{role}}"),)),
            Panel(
                "Connections",
                "short",
                (
                    ("sum by (role, state) (quantum_db_connections)", "{{role}}: {{state}}"),
                    ("sum by (role) (quantum_db_connections_limit)", "{{role}}: at most"),
                ),
            ),
            Panel(
                "Waits given up",
                "ops",
                (("sum(rate(quantum_db_pool_exhausted_total[$__rate_interval]))", "all"),),
            ),
            Panel(
                "Log kept for slots",
                "bytes",
                (("max by (slot) (quantum_wal_slot_bytes)", "{{slot}}"),),
            ),
            Panel("Slots", "short", (("max by (state) (quantum_wal_slots)", "{{state}}"),)),
            Panel(
                "Replica behind", "s", (("max by (instance) (quantum_replica_lag_seconds)", "{{instance}}"),)
            ),
            Panel(
                "Reads by server",
                "ops",
                ((_rate("quantum_replica_reads_total", "server, reason"), "{{server}} {{reason}}"),),
            ),
            Panel(
                "Caches",
                "ops",
                ((_rate("quantum_cache_looks_total", "cache, outcome"), "{{cache}}: {{outcome}}"),),
            ),
        ),
    ),
    "events": (
        "Events",
        (
            Panel("Published", "ops", ((_rate("quantum_relay_events_published_total", "sink"), "{{sink}}"),)),
            Panel("Behind", "s", (("max by (sink) (quantum_relay_lag_seconds)", "{{sink}}"),)),
            Panel("Repeated", "ops", ((_rate("quantum_relay_failures_total", "sink"), "{{sink}}"),)),
            Panel("Dead", "short", (("max by (sink) (quantum_dead_events)", "{{sink}}"),)),
            Panel("Webhooks", "ops", ((_rate("quantum_webhook_attempts_total", "outcome"), "{{outcome}}"),)),
            Panel("Webhooks behind", "s", (("max(quantum_webhook_lag_seconds)", "longest"),)),
            Panel("Webhooks, p95", "s", ((_p95("quantum_webhook_attempt_seconds"), "an attempt"),)),
            Panel("Webhooks left alone", "short", (("max(quantum_webhook_open_breakers)", "endpoints"),)),
            Panel(
                "Refused for good", "ops", ((_rate("quantum_relay_events_dead_total", "sink"), "{{sink}}"),)
            ),
            Panel(
                "Triggers",
                "ops",
                ((_rate("quantum_triggers_fired_total", "source, outcome"), "{{source}}: {{outcome}}"),),
            ),
            Panel("Streams", "short", (("sum(quantum_feed_streams)", "open"),)),
            Panel(
                "Streams that ended",
                "ops",
                ((_rate("quantum_feed_streams_ended_total", "reason"), "{{reason}}"),),
            ),
            Panel(
                "Written to streams",
                "ops",
                (("sum(rate(quantum_feed_events_total[$__rate_interval]))", "events"),),
            ),
            Panel(
                "Left alone", "short", (("sum by (dependency) (quantum_breakers_open)", "{{dependency}}"),)
            ),
            Panel(
                "Breakers opened",
                "ops",
                ((_rate("quantum_breaker_openings_total", "dependency"), "{{dependency}}"),),
            ),
            Panel("Spans", "ops", ((_rate("quantum_trace_spans_total", "outcome"), "{{outcome}}"),)),
        ),
    ),
    "tenants": (
        "Tenants",
        (
            Panel("Tenants", "short", (("max by (state) (quantum_tenants)", "{{state}}"),)),
            Panel("Step seconds today", "s", (_used("step_seconds"),)),
            Panel("Runs today", "short", (_used("runs"),)),
            Panel("Events today", "short", (_used("events"),)),
            Panel("Bytes of events today", "bytes", (_used("event_bytes"),)),
            Panel(
                "Flags: share of tenants",
                "percentunit",
                (
                    (
                        "max by (flag) (quantum_flag_tenants)"
                        ' / on () group_left () max(quantum_tenants{state="active"})',
                        "{{flag}}",
                    ),
                ),
            ),
            Panel(
                "Flags: asked",
                "ops",
                ((_rate("quantum_flag_decisions_total", "flag, variant"), "{{flag}} {{variant}}"),),
            ),
        ),
    ),
    "processes": (
        "Processes and hosts",
        (
            Panel(
                "Processors of processes",
                "percentunit",
                ((_rate("quantum_process_cpu_seconds_total", "process"), "{{process}}"),),
            ),
            Panel(
                "Memory of processes",
                "bytes",
                (("sum by (process) (quantum_process_memory_bytes)", "{{process}}"),),
            ),
            Panel("Processes", "short", (("sum by (process) (quantum_processes)", "{{process}}"),)),
            Panel("Threads", "short", (("sum by (process) (quantum_process_threads)", "{{process}}"),)),
            Panel("Open files", "short", (("sum by (process) (quantum_process_open_files)", "{{process}}"),)),
            Panel(
                "Connections to the broker made anew",
                "ops",
                ((_rate("quantum_broker_reconnects_total", "side"), "{{side}}"),),
            ),
            Panel(
                "Processors of hosts",
                "percentunit",
                ((_rate("quantum_host_cpu_seconds_total", "instance, mode"), "{{instance}} {{mode}}"),),
            ),
            Panel(
                "Network",
                "Bps",
                (
                    (
                        _rate("quantum_host_network_bytes_total", "instance, direction"),
                        "{{instance}} {{direction}}",
                    ),
                ),
            ),
            Panel(
                "Disks",
                "Bps",
                (
                    (
                        _rate("quantum_host_disk_bytes_total", "instance, direction"),
                        "{{instance}} {{direction}}",
                    ),
                ),
            ),
        ),
    ),
}


def board(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    title, panels = BOARDS[name]
    return {
        "uid": f"quantum-{name}",
        "title": f"Quantum: {title}",
        "schemaVersion": 39,
        "version": 1,
        "tags": ["quantum"],
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(at, panel) for at, panel in enumerate(panels)],
    }


def _panel(at: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(at, COLUMNS)
    return {
        "id": at + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": promql,
                "legendFormat": legend,
            }
            for number, (promql, legend) in enumerate(panel.lines)
        ],
    }


def files() -> Iterator[tuple[str, str]]:
    """Yield the name of each file with its text."""
    for name in BOARDS:
        yield f"{name}.json", json.dumps(board(name), indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Return 1 when a file differs."""
    if "--write" in arguments:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in files():
            (FOLDER / name).write_text(text)
        return 0
    present = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    if present != dict(files()):
        print("deploy/grafana holds other dashboards than checks/dashboards.py describes: run --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
