"""A run that nobody can bring forward keeps those of others from nothing."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.db.nesting import Due
from app.domain.errors import OperationFailed, Unavailable
from app.domain.leases import RunRef
from app.services.dispatch import advance_each
from app.services.failing import failing
from app.services.family import bring_in_line

RUNS = [RunRef(UUID(int=1), UUID(int=n)) for n in range(3)]


@pytest.fixture
def advanced(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The runs that were brought forward; the first of them raises what no service declares."""
    found: list[UUID] = []

    def advance(_engine: Any, _tenant_id: UUID, run_id: UUID) -> None:
        found.append(run_id)
        if run_id == RUNS[0].run_id:
            raise ValueError("a document that cannot be kept")

    monkeypatch.setattr("app.services.dispatch.advance", advance)
    monkeypatch.setattr("app.services.family.advance", advance)
    return found


def test_the_others_are_brought_forward(advanced: list[UUID]) -> None:
    engine: Any = None
    assert advance_each(engine, RUNS, "unsent") == len(RUNS)
    assert advanced == [run.run_id for run in RUNS]


def test_the_other_parents_are_told(advanced: list[UUID]) -> None:
    engine: Any = SimpleNamespace(database=SimpleNamespace(tenant=lambda _: nullcontext()))
    bring_in_line(engine, {}, [Due(run, "tell") for run in RUNS])
    assert advanced == [run.run_id for run in RUNS]


def test_what_nobody_foresaw_fails_the_step_that_met_it() -> None:
    deep = pytest.raises(OperationFailed, match="RecursionError: too deep")
    with deep as caught, failing("decision_raised"):
        raise RecursionError("too deep")
    assert (caught.value.code, caught.value.retryable) == ("decision_raised", False)
    with pytest.raises(Unavailable), failing("decision_raised"):
        raise Unavailable("database")
