"""The demo from the first chapter to the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from rich.console import Console

from app.client.http import ApiProblem, ApiUnreachable
from app.runtime.demo.breaking import flush_broker, kill_worker
from app.runtime.demo.chapters import inventory, neighbours, repair
from app.runtime.demo.claims import Report
from app.runtime.demo.listening import eventually, hear_events, watch_flower
from app.runtime.demo.stage import Stage, raised, settle_tenants
from app.runtime.demo.telling import live_feed, one_trace, schedule, webhook
from app.runtime.failure import RuntimeFailure
from app.runtime.processes import process_status

FINE_CHUNK = 5
ROUTINE = ("api", "worker", "beat", "relay", "flower")


class _BrokenOff(Exception):
    """A chapter could not go on; the report tells which and why."""


def play(environ: Mapping[str, str], console: Console, full: bool = False) -> int:
    """Show every chapter; return 0 when every claim held, else 1. Leaves nothing running."""
    report = Report(console)
    pids: dict[str, int] = {}
    try:
        with ExitStack() as stack:
            with _chapter(report, "Everything starts: servers, schema, API, worker, beat, relay, Flower"):
                stage = stack.enter_context(raised(environ, report))
                pids = stage.supervisor.pids()
                report.claim(f"running: {', '.join(sorted(pids))}", set(ROUTINE) <= set(pids))
            _shows(stage, report, full)
            pids |= stage.supervisor.pids()
    except _BrokenOff as reason:
        console.print(f"[red]{reason}[/red]", markup=True)
    with _chapter(report, "The curtain"):
        left = eventually(lambda: all(process_status(pid)[0] in ("", "Z") for pid in pids.values()))
        report.claim("nothing is left running", left)
    report.close()
    if report.exit_code == 0:
        _invite(console)
    return report.exit_code


def _shows(stage: Stage, report: Report, full: bool) -> None:
    with _chapter(report, "Two tenants"):
        acme, globex = settle_tenants(stage, report)
    with _chapter(report, "An inventory of the Python standard library"):
        inventory(stage, report, acme)
    with _chapter(report, "A job that fails, repaired by an operator's retry"):
        repaired = repair(stage, report, globex)
    with _chapter(report, "Nobody sees a neighbour"):
        neighbours(report, acme, repaired)
    with _chapter(report, "A worker is killed in the middle of a run"):
        kill_worker(stage, report, acme)
    with _chapter(report, "The events of the repaired run"):
        hear_events(stage, report, globex, repaired)
    with _chapter(report, "Flower"):
        watch_flower(stage, report, globex)
    if full:
        with _chapter(report, "The live feed, line by line, while a run goes"):
            live_feed(stage, report, globex)
        with _chapter(report, "A webhook, verified by the library of the standard"):
            trace_id = webhook(stage, report, globex)
        with _chapter(report, "One trace id finds the log lines of every process"):
            one_trace(stage, report, trace_id)
        with _chapter(report, "A schedule fires"):
            schedule(report, acme)
        with _chapter(report, "Redis is emptied while a chord is in flight"):
            flush_broker(stage, report, acme)
        with _chapter(report, f"The inventory again, {FINE_CHUNK} files a step"):
            inventory(stage, report, acme, chunk_size=FINE_CHUNK)


@contextmanager
def _chapter(report: Report, title: str) -> Iterator[None]:
    """A chapter whose expected troubles end the demo in words instead of a traceback."""
    try:
        with report.chapter(title):
            yield
    except (ApiProblem, ApiUnreachable, RuntimeFailure, TimeoutError) as reason:
        detail = f" {reason.document.get('detail', '')}" if isinstance(reason, ApiProblem) else ""
        raise _BrokenOff(f"{reason}{detail}") from reason


def _invite(console: Console) -> None:
    console.print("\n   Now yourself: `make up`, then")
    console.print("   API with its documents  http://127.0.0.1:8000/api/v1/docs")
    console.print("   Flower                  http://127.0.0.1:5555")
    console.print("   `quantum login`, `quantum intent submit -f …  --wait` (docs/cli.md)")
