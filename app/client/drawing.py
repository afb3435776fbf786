"""A run drawn as a step tree with a progress bar."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from app.client.progress import StepLine, layers, step_lines, totals
from app.client.watching import Sight

_MARKS = {
    "succeeded": ("✔", "green"),
    "failed": ("✘", "red"),
    "running": ("▶", "cyan"),
    "waiting": ("…", "yellow"),
    "ready": ("•", "cyan"),
    "skipped": ("↷", "dim"),
    "cancelled": ("∅", "dim"),
    "compensating": ("↶", "yellow"),
    "compensated": ("↶", "dim"),
}
_BAR_WIDTH = 40
_ERROR_WIDTH = 160
_MESSAGE_WIDTH = 60


def run_tree(sight: Sight) -> RenderableType:
    """The tree: a line per step of the definition, indented by what it needs, under it its error.

    A run that is a step stands below that step, drawn the same way.
    """
    tree = Tree(_title(sight))
    _grow(tree, sight)
    lines = step_lines(sight.steps)
    ended, total = totals(lines)
    done = ended + sum(line.part for line in lines)
    bar = Table.grid(padding=(0, 1))
    drawn = ProgressBar(total=max(total, 1), completed=done, width=_BAR_WIDTH)
    bar.add_row(drawn, f"{ended}/{total} steps")
    return Group(tree, bar)


def _title(sight: Sight) -> Text:
    run = sight.run
    workflow = run.get("workflow") or {}
    return Text.assemble(
        (f"run {run['id']} ", "bold"),
        f"{workflow.get('name')} {workflow.get('version')}: ",
        _state(run["state"]),
    )


def _grow(tree: Tree, sight: Sight) -> None:
    branches = [tree]
    bases = {step["key"]: step["base"] for step in sight.steps}
    for depth, line in layers(step_lines(sight.steps)):
        parent = branches[min(depth, len(branches) - 1)]
        branch = parent.add(_label(line))
        for key, child in sight.children.items():
            if bases[key] == line.base:
                _grow(branch.add(Text.assemble(f"{key}: ", _title(child))), child)
        branches[depth + 1 :] = [branch]
    for step in sight.steps:
        if step["state"] == "failed" and step.get("error"):
            tree.add(Text(f"{step['key']}: {_reason(step['error'])}"[:_ERROR_WIDTH], style="red"))


def _label(line: StepLine) -> Text:
    mark, colour = _MARKS.get(line.state, ("○", "dim"))
    label = Text.assemble(
        (f"{mark} ", colour), (line.base, "bold"), f"  {line.operation}  ", _state(line.state)
    )
    if line.total > 1:
        label.append(f"  {line.ended}/{line.total}")
    if line.part:
        label.append(f"  {(line.ended + line.part) / line.total:.0%}", "cyan")
    if line.message:
        label.append(f"  {line.message[:_MESSAGE_WIDTH]}", "dim")
    if line.reused:
        label.append(f"  {'reused' if line.total == 1 else f'{line.reused} reused'}", "dim")
    if line.failed:
        label.append(f"  {line.failed} failed", "red")
    if line.attempts > 1:
        label.append(f"  attempt {line.attempts}", "yellow")
    return label


def _state(state: str) -> tuple[str, str]:
    return state, _MARKS.get(state, ("", "dim"))[1]


def _reason(error: object) -> str:
    if isinstance(error, dict):
        return f"{error.get('code', 'error')}: {error.get('message', '')}"
    return str(error)
