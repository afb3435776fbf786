"""Looking at runs, repairing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from app.client.drawing import run_tree
from app.client.explaining import explained
from app.client.watching import look, watch
from app.commands.bulk import order
from app.commands.documents import read_document
from app.commands.history import settle, timeline
from app.commands.logs import logs
from app.commands.output import output
from app.commands.pictures import gantt, graph
from app.commands.shell import Shell, picked, table, tenant_command
from app.commands.signals import approve, reject, signal


@click.group()
def runs() -> None:
    """List, show, steer runs."""


for command in (signal, approve, reject, logs, output, graph, gantt, timeline):
    runs.add_command(command)


@runs.command("list")
@click.option("--state", help="Only runs in this state, e.g. failed.")
@click.option("--type", "type_name", help="Only runs of this intent type.")
@click.option("--parent", help="Only the runs that are steps of this run.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_runs(shell: Shell, state: str | None, type_name: str | None, parent: str | None, limit: int) -> None:
    """The newest runs first, those that are steps of others with their parent."""
    found = list(shell.client.items("/runs", limit=limit, state=state, type=type_name, parent=parent))
    columns = ("id", "state", "workflow", "created_at", "finished_at", "parent")
    shell.show(found, lambda: table(columns, (_row(run) for run in found)))


@runs.command("show")
@click.argument("run_id")
@tenant_command
def show_run(shell: Shell, run_id: str) -> None:
    """One run with its steps, below them the runs that steps are."""
    sight = look(shell.client, run_id)
    shell.show({**sight.run, "steps": list(sight.steps)}, lambda: run_tree(sight))


@runs.command("explain")
@click.argument("run_id")
@tenant_command
def explain_run(shell: Shell, run_id: str) -> None:
    """Why a run waits: the limit with its holders, its place, what each open step waits for."""
    document = shell.client.get(f"/runs/{run_id}/explain")
    shell.show(document, lambda: explained(document))


@runs.command("watch")
@click.argument("run_id")
@tenant_command
def watch_run(shell: Shell, run_id: str) -> None:
    """Follow a run to its end, its steps' progress drawn live; exit 1 when it does not succeed."""
    settle(shell, {"id": run_id}, wait=True)


@runs.command("retry")
@click.argument("run_id", required=False)
@click.option("--failed-type", help="Instead of one run: a bulk action for the failed runs of this type.")
@click.option(
    "--from", "step", help="From this step on, even when it succeeded, with all that depends on it."
)
@click.option("--dry-run", is_flag=True, help="With --failed-type: only count.")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 when it does not succeed.")
@tenant_command
def retry_run(
    shell: Shell, run_id: str | None, failed_type: str | None, step: str | None, dry_run: bool, wait: bool
) -> None:
    """Run again what failed or never ran; what succeeded stays."""
    if (run_id is None) == (failed_type is None):
        raise click.UsageError("give a run id or --failed-type")
    if step is not None and run_id is None:
        raise click.UsageError("--from names a step of one run")
    if run_id is None:
        order(shell, "/runs:retry", {"filter": {"type": failed_type}, "dry_run": dry_run}, wait)
        return
    document = shell.client.post(f"/runs/{run_id}:retry", {"from": step} if step else None)
    settle(shell, document, wait)


@runs.command("cancel")
@click.argument("run_id")
@click.option("--reason", help="Kept in the audit record.")
@click.option("--compensate", is_flag=True, help="Undo what completed, in reverse order, before it ends.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@tenant_command
def cancel_run(shell: Shell, run_id: str, reason: str | None, compensate: bool, wait: bool) -> None:
    """Stop a run: running steps are told to stop, the others never start."""
    body = {**({"reason": reason} if reason else {}), **({"compensate": True} if compensate else {})}
    document = shell.client.post(f"/runs/{run_id}:cancel", body or None)
    if wait:
        *_, last = watch(shell.client, run_id)
        document = last.run
    shell.show(document, lambda: f"Run {run_id} is {document['state']}.")


@runs.command("pause")
@click.argument("run_id")
@click.option("--reason", help="Kept in the audit record.")
@tenant_command
def pause_run(shell: Shell, run_id: str, reason: str | None) -> None:
    """Let running steps end, begin nothing more until the resume."""
    settle(shell, shell.client.post(f"/runs/{run_id}:pause", {"reason": reason} if reason else None), False)


@runs.command("resume")
@click.argument("run_id")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 when it does not succeed.")
@tenant_command
def resume_run(shell: Shell, run_id: str, wait: bool) -> None:
    """Put a paused run under way again."""
    settle(shell, shell.client.post(f"/runs/{run_id}:resume"), wait)


@runs.command("skip")
@click.argument("run_id")
@click.argument("step")
@click.option("--reason", required=True, help="Kept in the audit record, shown with the step.")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 when it does not succeed.")
@tenant_command
def skip_step(shell: Shell, run_id: str, step: str, reason: str, wait: bool) -> None:
    """Let the dependants of a step go on without it: it has not begun, or it failed in a failed run."""
    settle(shell, shell.client.post(f"/runs/{run_id}/steps/{step}:skip", {"reason": reason}), wait)


@runs.command("rerun")
@click.argument("run_id")
@click.option("--spec", "path", type=click.Path(path_type=Path), help="YAML or JSON of an edited spec.")
@click.option("--wait", is_flag=True, help="Follow the new run to its end; exit 1 when it does not succeed.")
@tenant_command
def rerun_run(shell: Shell, run_id: str, path: Path | None, wait: bool) -> None:
    """Start a new run of the plan of a run that has ended."""
    body = None if path is None else {"spec": read_document(path)}
    settle(shell, shell.client.post(f"/runs/{run_id}:rerun", body), wait)


def _row(run: dict[str, Any]) -> tuple[Any, ...]:
    workflow = run.get("workflow") or {}
    name = f"{workflow.get('name')} {workflow.get('version')}"
    parent = run.get("parent") or {}
    step = f"{parent['run_id']} {parent['step']}" if parent else ""
    return (*picked(run, "id", "state"), name, *picked(run, "created_at", "finished_at"), step)
