"""The drill to a moment: a base backup, the log since, everything as it stood before the mistake."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from app.runtime import backup
from app.runtime import backup_files as files
from app.runtime.binaries import postgres_bin
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.runtime.point_in_time import base_for, create_base, recovered
from app.runtime.wal_archive import WalReceiver, sealed_folder
from app.security.key_ring import KeyRing
from tests.support.history import fill_history
from tests.support.servers import private_servers
from tests.support.spine import BROKER, Spine
from tests.support.waiting import eventually

pytestmark = pytest.mark.scale

RUNS = 50_000
GOAL_S = 15 * 60
RING = KeyRing((bytes(32),))


def leave(spine: Spine) -> None:
    for database in (spine.app, spine.system, spine.admin):
        database.dispose()


def mistake(spine: Spine) -> tuple[UUID, datetime, UUID]:
    """Return a run, the moment at which everything was well, a run of after."""
    plan = spine.plan({"a": []}, carriers={"a": 0})
    kept = spine.declare(plan, broker=BROKER)
    [(moment,)] = spine.admin.call("SELECT clock_timestamp()")
    after = spine.declare(plan, broker=BROKER)
    spine.admin.call("DELETE FROM audit_records")
    return kept, moment, after


def received(spine: Spine) -> None:
    """Wait until the receiver has what the server has written so far."""
    [(end,)] = spine.admin.call("SELECT pg_current_wal_lsn()")
    told = "SELECT 1 FROM pg_stat_replication WHERE write_lsn >= %s"
    eventually(lambda: spine.admin.call(told, (end,)), within=60, what="the log is here")


def test_the_database_comes_back_as_it_stood_at_a_moment(tmp_path: Path) -> None:
    programs = postgres_bin(tmp_path / "bin", server_identity())
    with private_servers() as servers:
        urls = servers.database
        spine, stop = Spine(urls), threading.Event()
        receiver = WalReceiver(programs, urls.admin, tmp_path, RING)
        receiving = threading.Thread(target=receiver.run, args=(stop,))
        receiving.start()
        began = time.monotonic()
        base = create_base(programs, urls.admin, tmp_path, RING, datetime.now(UTC))
        based_s = time.monotonic() - began
        fill_history(spine, RUNS)
        kept, moment, after = mistake(spine)
        received(spine)
        stop.set()
        receiving.join()
        receiver.drop()
        assert list(sealed_folder(tmp_path).iterdir()), "whole segments are sealed"
        leave(spine)

        assert base_for(files.backups(tmp_path, RING), moment) == base
        given = (programs, urls.admin, tmp_path, base, RING)
        late = recovered(*given, datetime.now(UTC) + timedelta(days=1))
        with pytest.raises(RuntimeFailure, match="does not reach"), late:
            pass
        began = time.monotonic()
        rows = backup.restore_at(*given, moment, replace=True, disconnect=False)
        restored_s = time.monotonic() - began
        again = Spine(urls)
        there = again.system.call("SELECT id FROM runs WHERE id IN (%s, %s)", (kept, after))
        assert there == [(kept,)]
        assert again.system.call("SELECT count(*) > 0 FROM audit_records") == [(True,)]
        leave(again)
    print(f"\nbase {base.bytes / 2**20:.0f} MiB in {based_s:.1f} s, {rows} rows back in {restored_s:.1f} s")
    assert rows > 300_000
    assert restored_s < GOAL_S
