"""The dashboards through Grafana's own model of one, which PyPI brings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from checks.report import ROOT

pytestmark = pytest.mark.services

PACKAGE = "grafana-foundation-sdk"
READ_AND_WRITE = """
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
register_default_plugins()
board = Dashboard.from_json(json.load(open(sys.argv[1])))
print(JSONEncoder(sort_keys=True).encode(board))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has Grafana's model, and nothing of ours."""
    folder = tmp_path_factory.mktemp("grafana")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE]
    subprocess.run(pip, check=True, timeout=300)
    return folder / "bin" / "python"


def kept(python: Path, file: Path) -> dict[str, object]:
    """Return what is left of a dashboard that went through the model."""
    done = subprocess.run(
        [str(python), "-c", READ_AND_WRITE, str(file)], check=True, capture_output=True, text=True, timeout=60
    )
    document: dict[str, object] = json.loads(done.stdout)
    return document


def lost(ours: object, theirs: object, at: str = "") -> list[str]:
    """Return the places of ours that the model does not know, or changes."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            place
            for key, value in ours.items()
            for place in (lost(value, theirs[key], f"{at}/{key}") if key in theirs else [f"{at}/{key}"])
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [place for number, (a, b) in pairs for place in lost(a, b, f"{at}/{number}")]
    return [] if ours == theirs else [at]


@pytest.mark.parametrize(
    "file", sorted((ROOT / "deploy" / "grafana").glob("*.json")), ids=lambda one: one.stem
)
def test_grafana_knows_every_member_of_a_dashboard(python: Path, file: Path, tmp_path: Path) -> None:
    document = json.loads(file.read_text())
    assert lost(document, kept(python, file)) == []
    document["panels"][0]["gridPosition"] = document["panels"][0].pop("gridPos")
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(document))
    assert lost(document, kept(python, broken)) == ["/panels/0/gridPosition"], "the model would notice"
