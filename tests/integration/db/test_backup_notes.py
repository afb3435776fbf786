"""What the rows say of backups: who makes one now, when the next is due, how old the last proved one is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.db import backups
from app.db.engine import Database
from app.db.gauges import read_gauges
from app.domain.errors import Unavailable
from app.runtime.backup_lease import BackupLease
from app.runtime.failure import RuntimeFailure
from app.services.ask_for_backups import BackupClock
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually

NOW = datetime.now(UTC).replace(microsecond=0)
AGO = timedelta(hours=1)


@pytest.fixture
def system(database_urls: DatabaseUrls) -> Iterator[Database]:
    """The system role over a database that knows of no backup."""
    system = Database(database_urls.system, "system")
    system.call("DELETE FROM backups")
    system.call("DELETE FROM leases")
    yield system
    system.dispose()


class Child:
    """A process as the clock sees it."""

    def __init__(self) -> None:
        self.code: int | None = None

    def ended(self) -> int | None:
        return self.code


def age(system: Database, of: str = "backup") -> float | None:
    found = {name: value for name, _, value in read_gauges(system)}
    return found.get(f"quantum_{of}_age_seconds")


def test_the_age_is_that_of_the_latest_verified_one(system: Database) -> None:
    now = datetime.now(UTC).replace(microsecond=0)  # the age is told by the database's clock
    assert age(system) is None, "nobody wants backups here"
    backups.note(system, "a", now - 50 * AGO)
    backups.note(system, "b", now - 40 * AGO, error="the disk is full")
    assert age(system) == pytest.approx(50 * 3600, abs=60), "none is proved since the first was tried"
    backups.note(system, "a", now - 50 * AGO, 10, 20, verified=True)
    backups.note(system, "c", now - 30 * AGO, 10, 20, verified=True)
    backups.note(system, "d", now - 1 * AGO, 10, 20)
    assert age(system) == pytest.approx(30 * 3600, abs=60)
    backups.note(system, "c", now - 30 * AGO, error="cannot be verified again")
    assert system.call("SELECT bytes, rows, verified_at IS NULL, error FROM backups WHERE name = 'c'") == [
        (10, 20, False, "cannot be verified again")
    ]
    backups.note(system, "old", now - timedelta(days=500))
    assert backups.standing(system) == backups.Standing(now - 30 * AGO, now - 1 * AGO, under_way=False)
    assert system.call("SELECT count(*) FROM backups") == [(4,)], "a note of long ago is gone"


def test_base_backups_have_an_age_of_their_own_once_the_log_is_received(system: Database) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    backups.note(system, "dump", now - 3 * AGO, verified=True)
    backups.note(system, "early", now - 90 * AGO, kind="base", verified=True)
    assert age(system, "base_backup") is None, "nobody receives the log"
    backups.log_begins(system, now - 50 * AGO, anew=True)
    assert age(system, "base_backup") == pytest.approx(50 * 3600, abs=60), "the base backup is of before"
    backups.note(system, "late", now - 40 * AGO, kind="base")
    assert age(system, "base_backup") == pytest.approx(50 * 3600, abs=60), "it is not proved"
    backups.note(system, "late", now - 40 * AGO, kind="base", verified=True)
    assert age(system, "base_backup") == pytest.approx(40 * 3600, abs=60)
    backups.log_begins(system, now, anew=False)
    assert age(system, "base_backup") == pytest.approx(40 * 3600, abs=60), "the log goes on"
    seen = backups.standing(system)
    assert (seen.verified, seen.tried) == (now - 3 * AGO, now - 3 * AGO)
    assert (seen.based, seen.log_since) == (now - 40 * AGO, now - 50 * AGO)
    backups.log_begins(system, now, anew=True)
    assert age(system, "base_backup") == pytest.approx(0, abs=60), "it has a gap"
    assert age(system) == pytest.approx(3 * 3600, abs=60)
    backups.note(system, "young", now - 1 * AGO, kind="base", verified=True)
    assert age(system) == pytest.approx(3 * 3600, abs=60)
    seen = backups.standing(system)
    assert (seen.verified, seen.tried) == (now - 3 * AGO, now - 1 * AGO), "it is no dump"
    backups.log_ends(system)
    assert age(system, "base_backup") is None


def test_one_of_many_takes_the_lease(system: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: backups.take_lease(system, f"p{n}", 60), range(8)))
    assert taken.count(True) == 1
    owner = f"p{taken.index(True)}"
    assert backups.take_lease(system, owner, 60), "it is prolonged"
    backups.give_lease_up(system, "another")
    assert not backups.take_lease(system, "another", 60)
    assert backups.standing(system).under_way
    backups.give_lease_up(system, owner)
    assert not backups.standing(system).under_way
    assert backups.take_lease(system, "another", 60)


def test_a_lease_is_renewed_and_its_loss_is_noticed(system: Database) -> None:
    lease = BackupLease(system, "mine", lease_s=60, renew_s=0.05)
    assert lease.take()
    with lease:
        first = system.call("SELECT until FROM leases")
        eventually(lambda: system.call("SELECT until FROM leases") > first, within=10)
        lease.check()
        system.call("UPDATE leases SET owner = 'other'")  # as if this one had slept past its end

        def lost() -> bool:
            try:
                lease.check()
            except RuntimeFailure:
                return True
            return False

        eventually(lost, within=10)
    assert system.call("SELECT owner FROM leases") == [("other",)], "nobody gives another's lease up"


def test_beat_starts_one_process_and_never_waits_for_it(system: Database) -> None:
    started: list[Child] = []

    def start() -> Child:
        started.append(Child())
        return started[-1]

    now = NOW
    clock = BackupClock(system, now.hour, lambda: now, start)
    assert clock.look()
    assert not clock.look(), "it runs"
    backups.note(system, "a", now, error="the disk is full")
    started[0].code = 5
    assert not clock.look(), "not again at once"
    now += timedelta(hours=1)
    assert backups.take_lease(system, "a cron job", 60)
    assert not clock.look(), "somebody else makes one"
    backups.give_lease_up(system, "a cron job")
    assert clock.look()
    backups.note(system, "b", now, 1, 1, verified=True)
    started[1].code = 0
    assert not clock.look()
    assert len(started) == 2
    now += timedelta(days=1)
    assert clock.look()
    started[2].code = 0
    backups.note(system, "c", now, 1, 1, verified=True)
    assert not clock.look()
    backups.log_begins(system, now, anew=True)
    assert not clock.look(), "an hour after the dump"
    now += timedelta(hours=1)
    assert clock.look(), "the log wants a base backup"


def test_a_database_that_is_away_is_beats_to_tell() -> None:
    away = Database("postgresql://nobody:x@127.0.0.1:9/none", "system")
    with pytest.raises(Unavailable):
        BackupClock(away, 2, lambda: NOW, Child).look()
