"""The chapters of the demo, in the order in which they are shown."""

from __future__ import annotations

import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from app.client.drawing import run_tree
from app.client.http import ApiClient, ApiProblem
from app.client.progress import step_lines, totals
from app.client.watching import Sight, watch
from app.runtime.demo.broker import watching
from app.runtime.demo.claims import Report
from app.runtime.demo.counting import Count, count_files
from app.runtime.demo.stage import Stage
from app.runtime.demo.target import serving

RUN_WITHIN_S = 120.0
EXCLUDED = ("site-packages", "dist-packages", "__pycache__")
CHUNK = 100
NOT_FOUND = 404
PATH_WIDTH = 44
ATTEMPTS = 3
"""As the built-in workflow http.request says."""


def submit(client: ApiClient, type_name: str, spec: dict[str, Any]) -> str:
    """Declare an intent; return the id of its run."""
    run_id: str = client.post("/intents", {"type": type_name, "spec": spec})["run"]["id"]
    return run_id


def follow(report: Report, client: ApiClient, run_id: str) -> Sight:
    """Draw a run until it ends: live on a terminal, else a line for each change with the tree at its end."""
    if not report.console.is_terminal:
        told = ""
        for sight in watch(client, run_id, RUN_WITHIN_S):
            ended, total = totals(step_lines(sight.steps))
            line = f"{sight.run['state']}: {ended} of {total} steps"
            if line != told:
                report.say(line)
            told = line
        report.console.print(run_tree(sight))
        return sight
    with Live(console=report.console, refresh_per_second=8) as live:
        for sight in watch(client, run_id, RUN_WITHIN_S):
            live.update(run_tree(sight))
    return sight


def inventory(stage: Stage, report: Report, client: ApiClient, chunk_size: int = CHUNK) -> None:
    """Tenant A counts the standard library; the demo counts it too, without the platform."""
    root = Path(sysconfig.get_path("stdlib")).resolve()
    spec = {"root": str(root), "chunk_size": chunk_size, "exclude": list(EXCLUDED)}
    with watching(stage.settings.broker_url, stage.settings.worker_queues) as broker:
        run_id = submit(client, "data.inventory", spec)
        sight = follow(report, client, run_id)
    report.claim(f"the inventory of {root} succeeded", sight.run["state"] == "succeeded")
    chunks = sum(step["base"] == "digest" and step["item"] is not None for step in sight.steps)
    report.claim(
        f"{chunks} chunks were digested in parallel by a chord seen in the broker", broker.flight.chords
    )
    found = client.get(f"/runs/{run_id}/steps/summarise")["output"]
    counted = count_files(root, EXCLUDED)
    report.console.print(_comparison(found, counted))
    report.claim(
        "files, bytes, lines equal a count made without the platform",
        (found["files"], found["bytes"], found["lines"]) == (counted.files, counted.bytes, counted.lines),
    )
    largest = tuple((file["path"], file["bytes"]) for file in found["largest"])
    report.claim("so do the ten largest files", largest == counted.largest)


def repair(stage: Stage, report: Report, client: ApiClient) -> str:
    """Tenant B's target is down: the run fails, is repaired by an operator's retry; returns the run's id."""
    url = f"http://127.0.0.1:{stage.target_port}/stock"
    run_id = submit(client, "http.request", {"url": url, "timeout_s": 5})
    first = follow(report, client, run_id)
    report.claim("with its target down the run failed", first.run["state"] == "failed")
    tries = _attempts(client, run_id)
    report.claim(
        f"the request was tried {ATTEMPTS} times, its dependant never",
        (tries["fetch"], tries["report"]) == (ATTEMPTS, 0),
    )
    listed = {run["id"] for run in client.items("/runs", state="failed")}
    report.claim("it is listed as failed", run_id in listed)
    report.say(f"the target starts on 127.0.0.1:{stage.target_port}; an operator retries the run")
    with serving(stage.target_port):
        client.post(f"/runs/{run_id}:retry")
        second = follow(report, client, run_id)
    report.claim("after the retry the run succeeded", second.run["state"] == "succeeded")
    again = _attempts(client, run_id)
    report.console.print(_attempt_table(tries, again))
    report.claim(
        "only the failed step with its dependant ran again",
        {base: again[base] - tries[base] for base in again} == {"prepare": 0, "fetch": 1, "report": 1},
    )
    return run_id


def neighbours(report: Report, acme: ApiClient, run_of_globex: str) -> None:
    """Tenant A asks for a run of tenant B."""
    try:
        acme.get(f"/runs/{run_of_globex}")
    except ApiProblem as problem:
        report.claim("another tenant's run is not found (404)", problem.status == NOT_FOUND)
    else:
        report.claim("another tenant's run is not found (404)", False)
    ids = {run["id"] for run in acme.items("/runs", limit=200)}
    report.claim("nor does it stand in the list", ids and run_of_globex not in ids)


def _attempts(client: ApiClient, run_id: str) -> Counter[str]:
    steps = client.get(f"/runs/{run_id}")["steps"]
    return Counter(
        {step["key"]: len(client.get(f"/runs/{run_id}/steps/{step['key']}")["attempts"]) for step in steps}
    )


def _attempt_table(before: Counter[str], after: Counter[str]) -> Table:
    table = Table("step", "attempts before the retry", "after it", box=None)
    for base in after:
        table.add_row(base, str(before[base]), str(after[base]))
    return table


def _comparison(found: dict[str, Any], counted: Count) -> Table:
    table = Table("", "platform", "counted without it", box=None)
    for name in ("files", "bytes", "lines"):
        table.add_row(name, f"{found[name]:,}", f"{getattr(counted, name):,}")
    for file, (path, size) in zip(found["largest"], counted.largest, strict=False):
        same = (file["path"], file["bytes"]) == (path, size)
        table.add_row(_short(file["path"]), f"{file['bytes']:,}", f"{size:,}" if same else f"{path} {size:,}")
    return table


def _short(path: str) -> str:
    return path if len(path) <= PATH_WIDTH else f"…{path[1 - PATH_WIDTH :]}"
