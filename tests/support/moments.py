"""The drill to a moment: a server whose log is received, a history, a mistake, all as it stood before."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from app.runtime import backup
from app.runtime import backup_files as files
from app.runtime.backup_files import Backup
from app.runtime.backup_store import FolderStore
from app.runtime.binaries import postgres_bin
from app.runtime.identity import server_identity
from app.runtime.point_in_time import base_for, create_base
from app.runtime.stages import Stages
from app.runtime.wal_archive import SUFFIX, WalReceiver, spool_in
from app.security.key_ring import KeyRing
from tests.support.history import fill_history
from tests.support.servers import PrivateServers
from tests.support.spine import BROKER, Spine
from tests.support.waiting import eventually

RING = KeyRing((bytes(32),))


class Drill:
    """Plays it on servers of its own; `stages` tells where the time goes."""

    def __init__(self, servers: PrivateServers, folder: Path, stages: Stages) -> None:
        self.urls = servers.database
        self.spool = spool_in(folder)
        self.stages = stages
        self.store = FolderStore(folder)
        self.programs = postgres_bin(folder / "bin", server_identity())

    def play(self, runs: int) -> tuple[Backup, datetime, int]:
        """Return the base backup, the moment gone back to, the rows that came back."""
        spine = Spine(self.urls)
        with self._received(spine):
            with self.stages.stage("base backup made"):
                base = create_base(self.programs, self.urls.admin, self.store, RING, datetime.now(UTC))
            with self.stages.stage(f"{runs} runs written"):
                fill_history(spine, runs)
            kept, moment, after = mistake(spine)
            with self.stages.stage("log received"):
                received(spine)
        assert [name for name in self.store.names() if name.endswith(SUFFIX)], "whole segments are sealed"
        leave(spine)
        assert base_for(files.backups(self.store, RING), moment) == base
        given = (self.programs, self.urls.admin, self.store, base, RING, moment)
        rows = backup.restore_at(*given, replace=True, disconnect=False, spool=self.spool, stages=self.stages)
        again = Spine(self.urls)
        there = again.system.call("SELECT id FROM runs WHERE id IN (%s, %s)", (kept, after))
        assert there == [(kept,)]
        assert again.system.call("SELECT count(*) > 0 FROM audit_records") == [(True,)]
        leave(again)
        return base, moment, rows

    @contextlib.contextmanager
    def _received(self, spine: Spine) -> Iterator[None]:
        stop = threading.Event()
        receiver = WalReceiver(self.programs, self.urls.admin, self.store, self.spool, RING)
        thread = threading.Thread(target=receiver.run, args=(stop,))
        thread.start()
        try:
            active = "SELECT 1 FROM pg_replication_slots WHERE active"
            eventually(lambda: spine.admin.call(active), within=60, what="the log is received")
            yield
        finally:
            stop.set()
            thread.join()
        receiver.drop()


def mistake(spine: Spine) -> tuple[UUID, datetime, UUID]:
    """Return a run, the moment at which everything was well, a run of after."""
    plan = spine.plan({"a": []}, carriers={"a": 0})
    kept = spine.declare(plan, broker=BROKER)
    [(moment,)] = spine.admin.call("SELECT clock_timestamp()")
    after = spine.declare(plan, broker=BROKER)
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")  # a hundred thousand rows
        cursor.execute("DELETE FROM audit_records")
        session.commit()
    return kept, moment, after


def received(spine: Spine) -> None:
    """Wait until the receiver has what the server has written so far."""
    [(end,)] = spine.admin.call("SELECT pg_current_wal_lsn()")
    told = "SELECT 1 FROM pg_stat_replication WHERE write_lsn >= %s"
    eventually(lambda: spine.admin.call(told, (end,)), within=300, every=0.5, what="the log is here")


def leave(spine: Spine) -> None:
    """Let a restore have the database for itself."""
    for database in (spine.app, spine.system, spine.admin):
        database.dispose()
