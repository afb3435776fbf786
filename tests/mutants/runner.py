"""Applies each mutant to a copy of the tree, runs its test there, tells who survived."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from app.settings import inherited_environment
from tests.mutants import catalogue
from tests.mutants.leftovers import MARK, end_left_over
from tests.mutants.mutant import Mutant, StaleMutant, mutate
from tests.support.database import ROOT
from tests.support.servers import CLUSTER_VARIABLE, Cluster

COPIED = (
    "app",
    "tasks",
    "workflows",
    "migrations",
    "tests",
    "checks",
    "docs/examples",
    "setup.cfg",
    "pyproject.toml",
    "Procfile",
)
TEST_WITHIN_S = 120
AT_ONCE = 2
FAILED, KILLED_BY_TIME = 1, -1
"""pytest's exit code for failed tests; ours for a test that hung, which also tells the break."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    fate: Literal["killed", "survived", "stale", "error"]
    words: str = ""


def all_mutants() -> list[Mutant]:
    """Return the mutants of every file of the catalogue; raises ValueError when two have one name."""
    found: list[Mutant] = []
    for module in pkgutil.iter_modules(catalogue.__path__):
        found += importlib.import_module(f"{catalogue.__name__}.{module.name}").MUTANTS
    names = [mutant.name for mutant in found]
    doubles = {name for name in names if names.count(name) > 1}
    if doubles:
        raise ValueError(f"two mutants have one name: {', '.join(sorted(doubles))}")
    return found


@contextlib.contextmanager
def tree_copy(root: Path = ROOT, names: Sequence[str] = COPIED) -> Iterator[Path]:
    """Yield a copy of the code that may be broken; removed afterwards."""
    copy = Path(tempfile.mkdtemp(prefix="quantum-mutants-"))
    copy.chmod(0o755)
    try:
        for name in names:
            if (root / name).is_dir():
                shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (root / name).exists():
                shutil.copy(root / name, copy / name)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def judge(mutant: Mutant, copy: Path, cluster: Cluster | None) -> Verdict:
    """Break the copy, run the test, mend the copy."""
    path = copy / mutant.file
    try:
        whole = path.read_text()
        broken = mutate(whole, mutant)
    except (StaleMutant, FileNotFoundError) as stale:
        return Verdict(mutant, "stale", str(stale))
    path.write_text(broken)
    try:
        code, output = run_tests([mutant.test], copy, cluster)
    finally:
        path.write_text(whole)
    if code == KILLED_BY_TIME:
        return Verdict(mutant, "killed", "the test hung")
    if code == 0:
        return Verdict(mutant, "survived", f"{mutant.test} passes all the same")
    if code != FAILED or " failed" not in output or " error" in output.rsplit("\n", 2)[-2]:
        return Verdict(mutant, "error", output[-2000:])
    return Verdict(mutant, "killed")


def run_tests(
    tests: Sequence[str], copy: Path, cluster: Cluster | None, within_s: float = TEST_WITHIN_S
) -> tuple[int, str]:
    """Run tests in the copy; return pytest's exit code, or `KILLED_BY_TIME`, with their output."""
    environ = {
        **inherited_environment(),
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the mutants' tests need none; loading them takes seconds
    }
    mark = environ[MARK] = uuid4().hex
    if cluster is not None:
        environ[CLUSTER_VARIABLE] = cluster.to_json()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.terminate()  # pytest then ends what its fixtures started
        with contextlib.suppress(subprocess.TimeoutExpired):  # else by force
            process.wait(10)
        process.kill()
        end_left_over(mark)  # they hold the pipe that is read to its end
        return KILLED_BY_TIME, process.communicate()[0]
    end_left_over(mark)
    return process.returncode, output


def run(mutants: Sequence[Mutant], cluster: Cluster | None) -> int:
    """Judge all mutants, two at a time; return 0 when each one was killed by its test."""
    with tree_copy() as copy:
        tests = list(dict.fromkeys(mutant.test for mutant in mutants))
        code, output = run_tests(tests, copy, cluster, within_s=len(tests) * TEST_WITHIN_S)
        if code != 0:  # a test that fails anyway would kill every mutant
            print(f"without any mutant:\n{output[-4000:]}", flush=True)
            return 1
    left = list(reversed(mutants))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = list(pool.map(lambda _: _judge_some(left, cluster), range(AT_ONCE)))
    verdicts = [verdict for row in rows for verdict in row]
    killed = sum(verdict.fate == "killed" for verdict in verdicts)
    print(f"{killed} passed, {len(verdicts) - killed} failed")
    return 0 if killed == len(verdicts) == len(mutants) else 1


def _judge_some(left: list[Mutant], cluster: Cluster | None) -> list[Verdict]:
    """Take mutants from `left` until none is there, over one copy of the tree."""
    verdicts = []
    with tree_copy() as copy, contextlib.suppress(IndexError):  # nothing left to take
        while True:
            mutant = left.pop()
            began = time.monotonic()
            verdict = judge(mutant, copy, cluster)
            verdicts.append(verdict)
            took = time.monotonic() - began
            print(f"{verdict.fate:<9}{took:6.1f} s  {mutant.name} {verdict.words}", flush=True)
    return verdicts
