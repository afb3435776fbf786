"""The `quantum` command, typed as an operator types it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.prepared import PreparedPrograms
from tests.support.processes import BIN

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Quantum:
    """Runs `quantum` in this module's environment."""

    environ: dict[str, str]
    token_file: Path
    prepared: PreparedPrograms

    def __call__(self, *arguments: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.prepared(arguments, self._environ, typed)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def installed(self, *arguments: str, typed: str = "") -> None:
        """Run the installed program, from its start with all imports; it has to succeed."""
        done = subprocess.run(
            [str(BIN / "quantum"), *arguments],
            input=typed,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"

    @property
    def _environ(self) -> dict[str, str]:
        return self.environ | {"QUANTUM_TOKEN_FILE": str(self.token_file)}

    def json(self, *arguments: str, typed: str = "", code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", typed=typed, code=code).stdout)
