"""The whole demo, as `make demo` runs it, over this module's servers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_every_claim_of_the_demo_holds(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "quantum"), "demo"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    held = re.search(r"(\d+) of (\d+) claims held", done.stdout)
    assert held is not None
    assert held[1] == held[2]
    assert int(held[2]) >= 20
