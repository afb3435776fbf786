"""The mutant runner: what it calls killed, survived, stale, an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import leftovers, runner
from tests.mutants.mutant import Mutant
from tests.mutants.runner import all_mutants, judge
from tests.support.database import ROOT
from tests.support.processes import is_alive

CODE = "def double(n):\n    return n * 2\n"
TEST = "from code_under import double\n\ndef test_double():\n    assert double(3) == 6\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "code_under.py").write_text(CODE)
    (tmp_path / "test_code.py").write_text(TEST)
    return tmp_path


def mutant(new: str, *, old: str = "n * 2", test: str = "test_code.py::test_double") -> Mutant:
    return Mutant("a mutant", "code_under.py", old, new, test)


@pytest.mark.parametrize(
    ("seeded", "fate"),
    [
        (mutant("n * 3"), "killed"),
        (mutant("n + n"), "survived"),
        (mutant("n * 3", old="n * 5"), "stale"),
        (mutant("m", old="n"), "stale"),
        (mutant("n *"), "error"),
        (mutant("n * 3", test="test_code.py::test_gone"), "error"),
    ],
)
def test_the_fate_of_a_mutant(copy: Path, seeded: Mutant, fate: str) -> None:
    assert judge(seeded, copy, cluster=None).fate == fate
    assert (copy / "code_under.py").read_text() == CODE, "the copy is mended for the next one"


def test_every_mutant_of_the_catalogue_fits_the_code() -> None:
    for one in all_mutants():
        assert (ROOT / one.file).read_text().count(one.old) == 1, one.name
        assert (ROOT / one.test.partition("::")[0]).is_file(), one.name


LEAVES = """
import subprocess

def test_double():
    subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=-3, stderr=-3)
    assert False
"""


def test_what_a_mutant_orphans_is_ended(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE_S", 0.3)
    ended: list[list[int]] = []
    monkeypatch.setattr(runner, "end_left_over", lambda mark: ended.append(leftovers.end_left_over(mark)))
    (copy / "test_code.py").write_text(LEAVES)
    assert judge(mutant("n * 3"), copy, cluster=None).fate == "killed"
    (orphans,) = ended
    assert len(orphans) == 1
    assert not is_alive(orphans[0])
