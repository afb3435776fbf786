"""Each import contract of setup.cfg is broken on purpose, in a small tree of the same shape."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.database import ROOT
from tests.support.processes import BIN

LAYERS = "The layers of the platform, high to low"
SETTINGS = "The parts of the settings know nothing of each other"
WIRING = "Each process is wired for itself"
ROOTS = "Tasks, above services, above workflows, above the domain"
TASKS = "The platform names tasks as strings"
SERVICES = "Services know no framework"
PURE = "The domain and the workflows do no input or output"
SQL = "Only the db package speaks SQL"

VIOLATIONS = [
    (LAYERS, "app/api/rogue.py", "import app.cli"),
    (LAYERS, "app/services/rogue.py", "import app.api"),
    (LAYERS, "app/db/rogue.py", "import app.services"),
    (LAYERS, "app/db/rogue.py", "import app.messaging"),
    (LAYERS, "app/domain/rogue.py", "import app.settings"),
    (LAYERS, "app/settings/__init__.py", "import app.db"),
    (LAYERS, "app/plugins/__init__.py", '"""A package nobody gave a layer."""'),
    (SETTINGS, "app/settings/sinks.py", "import app.settings.backups"),
    (SETTINGS, "app/settings/rogue.py", '"""A part that nobody gave a place."""'),
    (WIRING, "app/bootstrap/api.py", "import app.bootstrap.worker"),
    (WIRING, "app/bootstrap/stores.py", "import app.bootstrap.intake"),
    (WIRING, "app/bootstrap/rogue.py", '"""Wiring that nobody gave a place."""'),
    (ROOTS, "workflows/rogue.py", "import app.services"),
    (ROOTS, "app/domain/rogue.py", "import workflows"),
    (TASKS, "app/api/rogue.py", "import tasks"),
    (SERVICES, "app/services/rogue.py", "import flask"),
    (SERVICES, "app/services/rogue.py", "import celery"),
    (SERVICES, "app/services/rogue.py", "import redis"),
    (PURE, "app/domain/rogue.py", "import sqlalchemy"),
    (PURE, "workflows/rogue.py", "import celery"),
    (SQL, "app/api/rogue.py", "import psycopg2"),
    (SQL, "tasks/rogue.py", "import sqlalchemy"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with an empty module for every layer, the contracts of the real one."""
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    layered = [contract for contract in config.values() if "containers" in contract]
    modules = [
        f"{contract['containers'].replace('.', '/')}/{name}"
        for contract in layered
        for name in contract["layers"].split()
        if name not in ("|", ":")
    ]
    for module in ("app", *modules, "tasks", "workflows", "migrations"):
        if (ROOT / f"{module}.py").exists():
            (tmp_path / f"{module}.py").touch()
        else:
            (tmp_path / module).mkdir(exist_ok=True)
            (tmp_path / module / "__init__.py").touch()
    (tmp_path / "workflows" / "canvas.py").write_text("import celery\n")
    return tmp_path


def broken(tree: Path) -> list[str]:
    """Return the names of the contracts that the tree breaks."""
    done = subprocess.run(
        [str(BIN / "lint-imports"), "--no-logo", "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    return [line.partition(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line]


def test_an_innocent_tree_breaks_nothing(tree: Path) -> None:
    assert broken(tree) == []


@pytest.mark.parametrize(("contract", "path", "line"), VIOLATIONS)
def test_each_violation_breaks_its_contract(tree: Path, contract: str, path: str, line: str) -> None:
    file = tree / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{line}\n")
    assert contract in broken(tree)


def test_every_contract_has_a_violation() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    contracts = {
        config[name]["name"] for name in config.sections() if name.startswith("importlinter:contract:")
    }
    assert contracts == {contract for contract, _, _ in VIOLATIONS}
