"""The module of docs/modules.md, installed as a third party would, discovered, run by a real worker."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from app.services.load_modules import ModuleNotLoaded, load_modules
from tests.support.rig import rig_on

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/modules.md"


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return found


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as pip would leave it: the file, with the entry points in its metadata."""
    config = ConfigParser()
    config.read_string(block("ini"))
    (tmp_path / "greetings.py").write_text(block("python"))
    metadata = tmp_path / "greetings-1.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0.0\n")
    points = config["options.entry_points"]["quantum.modules"]
    (metadata / "entry_points.txt").write_text(f"[quantum.modules]\n{points}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_ten_lines_are_ten():
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 10


def test_the_documented_module_is_discovered_and_run(installed, environ, tmp_path_factory):
    with rig_on({**environ, "PYTHONPATH": str(installed)}, tmp_path_factory.mktemp("rig")) as rig:
        rig.worker(concurrency=1)
        run = rig.submit_definition(yaml.safe_load(block("yaml")), {"who": "Ada"})
        rig.ends(run)
        assert rig.step(run, "hello")["output"] == {"text": "Hello, Ada!"}


def test_built_in_modules_are_discovered_and_a_broken_one_stops_the_start():
    assert {"core", "data", "http"} <= {module.name for module in load_modules()}
    assert len(load_modules(("tasks.operations.core:module",))) == len(load_modules())
    for reference in ("no.such.module:module", "tasks.operations.core:LOOK_EVERY_S"):
        with pytest.raises(ModuleNotLoaded, match=re.escape(reference)):
            load_modules((reference,))


def test_a_module_whose_schema_would_be_fetched_stops_the_start(tmp_path, monkeypatch):
    (tmp_path / "remote.py").write_text(
        "from app.domain.modules import Module\n"
        "module = Module('remote', '1')\n"
        "module.operation('go', input_schema={'$ref': 'https://example.org/s.json'})(print)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotLoaded, match=r"/remote\.go/input_schema"):
        load_modules(("remote:module",))
