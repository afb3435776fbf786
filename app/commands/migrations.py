"""The command that migrates the schema, or says what it would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from app.commands.exits import told
from app.db.migrate import PATIENCE_S, Outcome, Plan, migrate, plan
from app.domain.upgrades import CONTRACT, PHASES, Process, Revision
from app.runtime.embedded import servers_of
from app.settings import inherited_environment, load_settings

AHEAD = "a newer release has migrated the schema, which this one can work on: nothing to do"


@click.command("migrate")
@click.option(
    "--phase", type=click.Choice(PHASES), help="Only this one; without: all that this release needs."
)
@click.option("--plan", "planned", is_flag=True, help="Show what would be done; change nothing.")
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=0),
    default=PATIENCE_S,
    show_default=True,
    help="Seconds to go on asking for locks, for the server, for the turn of this migration.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told
def migrate_command(phase: str | None, planned: bool, patience_s: float, as_json: bool) -> None:
    """Bring the database's schema to this release; safe to run twice, or from two machines at once.

    Beside running processes: `--phase expand` first, then the new processes, then `--phase contract`, which
    is refused (exit 7) while a process of an older release lives. A new database gets everything.
    """
    with servers_of(inherited_environment()) as environ:
        url = load_settings(environ).database_owner_url
        if planned:
            found = plan(url, phase)
            document, lines = _plan_document(found), _plan_lines(found)
        else:
            done = migrate(url, phase, patience_s=patience_s)
            document, lines = _outcome_document(done), _outcome_lines(done)
    click.echo(json.dumps(document, indent=2) if as_json else "\n".join(lines))


def _outcome_lines(done: Outcome) -> list[str]:
    if done.ahead:
        return [AHEAD]
    left = [f"left {one}" for one in done.left]
    return [*(f"applied {one}" for one in done.applied), *left, f"the schema is {_up_to(done.left)}"]


def _up_to(left: Sequence[Revision]) -> str:
    contracts = bool(left) and all(one.phase == CONTRACT for one in left)
    if contracts:
        return "up to date; when the older release has left: `quantum migrate --phase contract`"
    return "not up to date yet" if left else "up to date"


def _outcome_document(done: Outcome) -> dict[str, object]:
    return {
        "applied": [asdict(one) for one in done.applied],
        "left": [asdict(one) for one in done.left],
        "ahead": done.ahead,
    }


def _plan_lines(found: Plan) -> list[str]:
    lines = [f"the schema is at {found.current or 'nothing'}"]
    if found.ahead:
        lines.append(AHEAD)
    for word, some in (("would apply", found.now), ("would leave", found.left)):
        for one in some:
            lines.append(f"{word} {one}")
            lines += [f"  still needed by {process}" for process in found.needing(one)]
    if not (found.now or found.left or found.ahead):
        lines.append("nothing to do")
    return [*lines, *(f"works on it: {process}" for process in found.living)]


def _plan_document(found: Plan) -> dict[str, object]:
    def revision(one: Revision) -> dict[str, object]:
        return {**asdict(one), "needed_by": [_process(process) for process in found.needing(one)]}

    return {
        "current": found.current,
        "now": [revision(one) for one in found.now],
        "left": [revision(one) for one in found.left],
        "processes": [_process(one) for one in found.living],
        "ahead": found.ahead,
    }


def _process(one: Process) -> dict[str, object]:
    document = asdict(one)
    del document["needs"]
    return {**document, "boot": str(one.boot)}
