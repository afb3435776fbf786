"""The alerts under Prometheus' own test tool, which Debian's package `prometheus` brings."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from checks.report import ROOT

RULES = ROOT / "deploy" / "prometheus"


@pytest.mark.services
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is missing: apt-get install prometheus"
    rules = [path.name for path in sorted(RULES.glob("*.rules.yml"))]
    tests = [path.name for path in sorted(RULES.glob("*.tests.yml"))]
    for command in (["check", "rules", *rules], ["test", "rules", *tests]):
        done = subprocess.run([promtool, *command], cwd=RULES, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
