"""The `quantum` command, typed as an operator types it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Quantum:
    """Runs `quantum` in this module's environment."""

    environ: dict[str, str]
    token_file: Path

    def __call__(self, *arguments: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "quantum"), *arguments],
            input=typed,
            env=self.environ | {"QUANTUM_TOKEN_FILE": str(self.token_file)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, typed: str = "", code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", typed=typed, code=code).stdout)
