"""The revisions of this release, read from their files."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from app.domain.upgrades import EXPAND, Revision

REVISION_FILE: Final = re.compile(r"\d{4}_\w+\.py")


@lru_cache(maxsize=1)
def revisions() -> tuple[Revision, ...]:
    """Return the revisions that this release knows, oldest first, without running any of them."""
    return read_revisions(files("migrations") / "versions")


def newest() -> str:
    """Return the last revision that this release knows."""
    return revisions()[-1].id


def needed() -> str:
    """Return the last expand of this release: before it was applied no process of the release can work."""
    return [one for one in revisions() if one.phase == EXPAND][-1].id


def read_revisions(folder: Traversable) -> tuple[Revision, ...]:
    """Return the revisions of a folder in the order of their numbers; a phase that is not told is empty."""
    found = [
        _read(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if REVISION_FILE.fullmatch(file.name)
    ]
    return tuple(sorted(found, key=lambda one: one.id))


def _read(text: str) -> Revision:
    tree = ast.parse(text)
    values = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    title = (ast.get_docstring(tree) or "").partition("\n")[0].rstrip(".")
    return Revision(str(values["revision"]), str(values.get("phase") or ""), title)
