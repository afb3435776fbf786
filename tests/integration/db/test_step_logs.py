"""Logs of steps in the rows: read on from a cursor, by try, by the tenant alone, pruned by age."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import step_logs
from app.db.prune import Pruner
from tests.support.spine import Spine


def write(spine: Spine, run: UUID, tries: int, *numbers: int) -> None:
    lines = [{"n": n, "at": "T", "level": "info", "text": f"{tries}.{n}"} for n in numbers]
    step_logs.write(spine.app, spine.message(run, "a"), tries, numbers[-1], lines)


def read(
    spine: Spine, run: UUID, after: tuple[int, int] = (0, 0), limit: int = 100, **more: Any
) -> list[str]:
    with spine.app.tenant(spine.tenant) as connection:
        found = step_logs.lines_after(connection, spine.tenant, run, "a", after, limit, **more)
    return [line["text"] for line in found]


@pytest.fixture
def run(spine: Spine) -> UUID:
    """A run whose step logged in two tries."""
    run = spine.start({"a": []})
    write(spine, run, 1, 1, 2, 3)
    write(spine, run, 1, 4, 5)
    write(spine, run, 2, 1)
    write(spine, run, 2, 2, 7)
    return run


def test_lines_come_in_order_from_any_cursor(spine: Spine, run: UUID) -> None:
    whole = ["1.1", "1.2", "1.3", "1.4", "1.5", "2.1", "2.2", "2.7"]
    assert read(spine, run) == whole
    for place in range(len(whole)):
        tries, n = map(int, whole[place].split("."))
        assert read(spine, run, (tries, n)) == whole[place + 1 :]
        assert read(spine, run, (tries, n), 2) == whole[place + 1 : place + 3]


def test_lines_of_one_try(spine: Spine, run: UUID) -> None:
    assert read(spine, run, only=1) == ["1.1", "1.2", "1.3", "1.4", "1.5"]
    assert read(spine, run, (1, 4), only=2) == ["2.1", "2.2", "2.7"]
    assert read(spine, run, (2, 2), only=2) == ["2.7"]
    assert read(spine, run, only=3) == []


def test_a_batch_written_twice_is_there_once(spine: Spine, run: UUID) -> None:
    write(spine, run, 2, 2, 7)
    assert read(spine, run, only=2) == ["2.1", "2.2", "2.7"]


def test_another_tenant_neither_writes_nor_reads(spine: Spine, run: UUID) -> None:
    mine, spine.tenant = spine.tenant, spine.new_tenant()
    try:
        assert read(spine, run) == []
        with pytest.raises(Exception, match="foreign key"):
            write(spine, run, 3, 1)
    finally:
        spine.tenant = mine


def test_old_lines_are_pruned(spine: Spine, run: UUID) -> None:
    spine.admin.call("UPDATE step_logs SET at = '2020-01-01' WHERE run_id = %s AND tries = 1", (run,))
    assert Pruner(spine.system).delete("step_logs", 60.0, 100) == 2
    assert read(spine, run) == ["2.1", "2.2", "2.7"]
