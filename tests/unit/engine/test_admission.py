"""Looks for room: a flood of submissions makes no flood of looks."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import Unavailable
from app.services import admission as service
from app.services.admission import (
    FRESH_FOR_S,
    OWN_FRESH_FOR_S,
    Admission,
    AdmissionRules,
)


class Rows:
    """A database without runs, which counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def call(self, statement: str, _values: Any) -> list[Any]:
        self.asked.append(statement)
        return []


def test_a_flood_of_refusals_looks_once_in_a_while() -> None:
    now, rows = [100.0], Rows()
    engine: Any = SimpleNamespace(sender=SimpleNamespace(epoch=lambda: "epoch"))
    admission = Admission(engine, rows, AdmissionRules(1, 1), lambda: now[0])  # type: ignore[arg-type]  # stands in
    admission.look()
    rows.asked.clear()
    for _ in range(200):
        admission.take("default")
        admission.look()
        now[0] += FRESH_FOR_S / 20
    looks = [asked for asked in rows.asked if "FROM admit" in asked]
    assert 8 <= len(looks) <= 11, "ten times the bound of freshness have passed"
    rows.asked.clear()
    now[0] += FRESH_FOR_S * 2
    admission.take("default")
    admission.take("default")
    admission.look()
    assert any("FROM admit" in asked for asked in rows.asked), "a lone refusal is looked after at once"


def test_the_admitter_reads_the_loads_for_itself_only_once_in_a_while() -> None:
    admission, rows = looking(floor=32)
    for _ in range(10):
        admission.admit(OWN_FRESH_FOR_S)
    assert sum("pool_loads" in asked for asked in rows.asked) == 1
    assert sum("FROM admit" in asked for asked in rows.asked) == 10


def looking(floor: int) -> tuple[Admission, Rows]:
    """What a beat knows whose broker is there, whose clock stands."""
    rows = Rows()
    engine: Any = SimpleNamespace(sender=SimpleNamespace(epoch=lambda: "epoch"))
    return Admission(engine, rows, AdmissionRules(floor, 4), lambda: 100.0), rows  # type: ignore[arg-type]  # stands in


@pytest.mark.parametrize("fault", [KeyError("a plan of a newer release"), Unavailable("database")])
def test_a_plan_that_cannot_be_read_keeps_no_other_run_from_being_sent(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    class Plans:
        def peek(self, name: str) -> Any:
            segments = [SimpleNamespace(keys=("a",))]
            known = SimpleNamespace(first_segments=segments, starts_undecided=False)
            return known if name == "known" else None

        def get(self, *_: Any) -> Any:
            raise fault

    class Admitting(Rows):
        def call(self, statement: str, values: Any) -> list[Any]:
            super().call(statement, values)
            hashes = ("odd", "known", "odd", "known") if "FROM admit" in statement else ()
            return [(UUID(int=n), UUID(int=n), name, True) for n, name in enumerate(hashes)]

    sent: list[Any] = []
    monkeypatch.setattr(service, "send_parcels", lambda _, parcels: sent.extend(parcels))
    engine: Any = SimpleNamespace(
        sender=SimpleNamespace(epoch=lambda: "epoch"),
        plans=Plans(),
        database=SimpleNamespace(tenant=lambda _: nullcontext()),
    )
    assert Admission(engine, Admitting(), AdmissionRules(8, 4), lambda: 100.0).admit() == 4  # type: ignore[arg-type]  # stands in
    assert [one.run_id for one in sent] == [UUID(int=1), UUID(int=3)]
