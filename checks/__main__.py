"""Runs every check, names those that fail: `python -m checks`, which is `make check`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from checks.report import ROOT

BIN = Path(sys.executable).parent
PYTHON = str(BIN / "python")

CHECKS: tuple[tuple[str, list[str]], ...] = (
    ("ruff", [str(BIN / "ruff"), "check", "."]),
    ("format", [str(BIN / "ruff"), "format", "--check", "."]),
    ("types", [str(BIN / "mypy")]),
    ("imports", [str(BIN / "lint-imports"), "--no-logo"]),
    ("house", [PYTHON, "-m", "checks.house"]),
    ("lock", [PYTHON, "-m", "checks.lock"]),
    ("states", [PYTHON, "-m", "checks.state_machine"]),
    ("schema", [PYTHON, "-m", "checks.schema"]),
    ("migrations", [PYTHON, "-m", "checks.migrations"]),
    ("openapi", [PYTHON, "-m", "checks.openapi"]),
    ("asyncapi", [PYTHON, "-m", "checks.asyncapi"]),
    ("containers", [PYTHON, "-m", "checks.containers"]),
    ("pictures", [PYTHON, "-m", "checks.pictures"]),
    ("dashboards", [PYTHON, "-m", "checks.dashboards"]),
    ("slo", [PYTHON, "-m", "checks.slo"]),
    ("metrics", [PYTHON, "-m", "checks.metrics"]),
    ("logs", [PYTHON, "-m", "checks.logs"]),
    ("documents", [PYTHON, "-m", "checks.documents"]),
    ("commands", [PYTHON, "-m", "checks.commands"]),
)


def main(names: list[str]) -> int:
    """Run the named checks, or all; return 1 when one failed."""
    failed = []
    for name, command in CHECKS:
        if names and name not in names:
            continue
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        word = "ok" if done.returncode == 0 else "FAILED"
        print(f"{name:<12}{word:<8}{time.monotonic() - began:5.1f} s", flush=True)
        if done.returncode != 0:
            failed.append(name)
            print(f"{done.stdout}{done.stderr}".rstrip(), flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
