"""The restore drill beside a real history: a million rows dumped, proved, restored, with the time of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from app.runtime import backup
from app.runtime.backup_store import FolderStore
from app.runtime.binaries import postgres_bin
from app.runtime.identity import server_identity
from app.security.key_ring import KeyRing
from tests.support.history import fill_history
from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine

pytestmark = pytest.mark.scale

RUNS = 100_000
GOAL_S = 15 * 60
RING = KeyRing((bytes(32),))

T = TypeVar("T")


def test_the_drill_beside_a_hundred_thousand_runs(fresh_database_urls: DatabaseUrls, tmp_path: Path) -> None:
    urls = fresh_database_urls
    spine = Spine(urls)
    fill_history(spine, RUNS)
    for database in (spine.app, spine.system, spine.admin):
        database.dispose()
    programs, store = postgres_bin(tmp_path / "bin", server_identity()), FolderStore(tmp_path)
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable[[], T]) -> T:
        began = time.monotonic()
        result = call()
        spent[name] = time.monotonic() - began
        return result

    now = datetime.now(UTC)
    made = timed("create", lambda: backup.create(programs, urls.admin, store, RING, now))
    timed("verify", lambda: backup.verify(programs, store, made, RING, lambda url: None))
    timed(
        "restore",
        lambda: backup.restore(*(programs, urls.admin, store, made, RING), replace=True, disconnect=False),
    )
    rows = sum(made.rows.values())
    figures = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
    print(f"\n{rows} rows, {made.bytes / 2**20:.0f} MiB sealed: {figures}")
    assert rows > 500_000
    assert spent["restore"] < GOAL_S
    assert Spine(urls).system.call("SELECT count(*) FROM runs") == [(RUNS,)]
