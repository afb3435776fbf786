"""The doctor: says what is used, what is wrong, how to mend it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from app.db import backups, beat
from app.db.engine import Database
from app.db.migrate import difference
from app.runtime import doctor
from app.runtime.doctor import Finding, examine
from app.runtime.embedded import take_lock
from app.runtime.ports import free_port
from app.settings import Settings, inherited_environment
from tests.support.processes import BIN
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually


def by_subject(environ: dict[str, str]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(environ, difference)}


def test_sound_servers_are_told_with_their_versions(environ: dict[str, str]) -> None:
    found = by_subject(environ)
    assert not [finding for finding in found.values() if finding.state == "bad"]
    assert "PostgreSQL" in found["database (app)"].found
    assert "Valkey" in found["redis"].found
    assert found["schema"].found == "up to date"
    assert "only-for-tests" not in str(found), "no password is shown"


def test_a_role_above_the_policies_is_bad(environ: dict[str, str], database_urls: DatabaseUrls) -> None:
    found = by_subject({**environ, "DATABASE_URL": database_urls.admin})
    assert found["database (app)"].state == "bad"
    assert "row-level security" in found["database (app)"].found


def test_a_missing_key_is_named(environ: dict[str, str], database_urls: DatabaseUrls) -> None:
    with (
        contextlib.closing(psycopg2.connect(database_urls.admin)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO tenants (id, slug, name) VALUES (gen_random_uuid(), 'keyless', 'T') RETURNING id"
        )
        row = cursor.fetchone()
        assert row is not None
        cursor.execute("INSERT INTO tenant_keys VALUES (%s, 'w', 'n', '0123456789abcdef')", row)
        connection.commit()
        found = by_subject(environ)["keys"]
        assert (found.state, found.mend) == ("note", "docs/runbooks/lost-key.md")
        assert "0123456789abcdef (1 tenants)" in found.found
        cursor.execute("DELETE FROM tenant_keys")
        connection.commit()
    assert by_subject(environ)["keys"].state == "ok"


def test_a_database_never_migrated_is_bad(environ: dict[str, str], empty_database_urls: DatabaseUrls) -> None:
    schema = by_subject({**environ, **empty_database_urls.environment()})["schema"]
    assert (schema.state, schema.found, schema.mend) == ("bad", "not migrated", "`quantum migrate`")


def test_servers_that_do_not_answer_are_bad(environ: dict[str, str]) -> None:
    away = f"127.0.0.1:{free_port()}"
    found = by_subject(
        {**environ, "DATABASE_URL": f"postgresql://quantum_app:x@{away}/q", "REDIS_URL": f"redis://{away}"}
    )
    assert found["database (app)"].state == found["redis"].state == "bad"
    assert found["database (app)"].mend


def test_a_redis_that_is_there_and_hangs_is_bad(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "BROKER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        redis = by_subject({**environ, "REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}"})["redis"]
    assert (redis.state, "imed out" in redis.found or "imeout" in redis.found) == ("bad", True)
    assert time.monotonic() - began < 20, "it is asked once"


def test_what_nobody_does_is_named_with_jobs_that_fail(
    environ: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "HEARD_WITHIN_S", 1.0)

    def told() -> list[tuple[str, str]]:
        found = [each for each in examine(environ, difference) if each.subject == "processes"]
        return [(each.state, each.found) for each in found]

    assert told() == [("note", "none serves")]
    system = Database(settings.database_system_url, "system")
    old = "SELECT clock_timestamp() - pg_postmaster_start_time() > interval '1 second'"
    eventually(lambda: system.call(old)[0][0], what="whoever serves could have been heard of")
    rows = [(uuid4(), kind, age) for kind, age in (("api", -60), ("api", -60), ("beat", 60), ("worker", -60))]
    for boot, kind, age in rows:
        system.call("SELECT attend(%s, %s, 'h', 1, '1', '9999', '')", (boot, kind))
        late = "UPDATE processes SET seen_at = seen_at - %s * interval '1 second' WHERE boot = %s"
        system.call(late, (age, boot))
    system.call("SELECT claim_job('schedules', '1 second', 'firing')")
    beat.record(system, "schedules", "no such zone")
    assert told() == [
        ("ok", "2 api, 1 worker"),
        *(("note", f"no {kind} has been heard of for 1 s") for kind in ("beat", "feed", "relay", "webhooks")),
        ("note", "beat's schedules fails: no such zone"),
    ]
    system.call("DELETE FROM processes")
    system.call("DELETE FROM beat_jobs")
    system.dispose()


def test_the_last_backup_is_told_with_why_it_failed(environ: dict[str, str], settings: Settings) -> None:
    def told(**more: str) -> list[tuple[str, str]]:
        found = [each for each in examine({**environ, **more}, difference) if each.subject == "backup"]
        return [(each.state, each.found) for each in found]

    assert (told(), told(BACKUP_FOLDER="/b")) == ([], [("note", "none has been made yet")])
    system = Database(settings.database_system_url, "system")
    now = datetime.now(UTC)
    backups.note(system, "first", now - timedelta(hours=40), error="no room")
    assert told() == [("note", "first failed: no room"), ("note", "none is proved yet")]
    backups.note(system, "first", now - timedelta(hours=40), verified=True)
    assert told() == [("note", "the latest proved one is 40 h old")]
    backups.note(system, "second", now - timedelta(hours=2), verified=True)
    assert told() == [("ok", "the latest proved one is 2 h old")]
    backups.note(system, "third", now, kind="base", error="no replication")
    assert told() == [("note", "third failed: no replication"), ("ok", "the latest proved one is 2 h old")]
    system.call("DELETE FROM backups")
    system.dispose()


def test_a_replica_is_never_needed(environ: dict[str, str], database_urls: DatabaseUrls) -> None:
    away = f"postgresql://quantum_app:x@127.0.0.1:{free_port()}/q"
    for url, said in ((database_urls.app, "no standby"), (away, "refused")):
        replica = by_subject({**environ, "DATABASE_REPLICA_URL": url})["replica"]
        assert replica.state == "note"
        assert said in replica.found
    assert "replica" not in by_subject(environ)


@pytest.mark.parametrize(("extra", "code"), [({}, 0), ({"API_PORT": "none"}, 1)])
def test_the_command_gives_json_with_its_exit_code(
    environ: dict[str, str], extra: dict[str, str], code: int
) -> None:
    done = subprocess.run(
        [str(BIN / "quantum"), "doctor", "--json"],
        env={**inherited_environment(), **environ, **extra},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] == (code == 0)
    assert any("API_PORT" in finding["found"] for finding in told["findings"]) == bool(extra)


def test_without_urls_it_starts_nothing(tmp_path: Path) -> None:
    found = by_subject({"QUANTUM_STATE_DIR": str(tmp_path)})
    assert found["servers"].state == "note"
    assert "quantum up" in found["servers"].mend
    assert list(tmp_path.iterdir()) == []


def test_clean_removes_the_state_but_not_below_a_running_server(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "demo").mkdir(parents=True)
    environ = {**inherited_environment(), "QUANTUM_STATE_DIR": str(state)}

    def clean() -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "quantum"), "clean"]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    refused = clean()
    assert refused.returncode != 0
    assert "not a state directory" in refused.stderr
    take_lock(state).close()
    with take_lock(state / "demo"):
        refused = clean()
        assert refused.returncode != 0
        assert f"process {os.getpid()} runs the servers" in refused.stderr
    assert clean().returncode == 0
    assert not state.exists()


def test_a_log_without_a_receiver_or_a_bound_is_told(environ: dict[str, str]) -> None:
    asked = [
        finding for finding in examine({**environ, "BACKUP_LOG": "1"}, difference) if finding.subject == "log"
    ]
    assert [finding.state for finding in asked] == ["note", "note"]
    assert "nobody has received the log" in asked[0].found
    assert "max_slot_wal_keep_size is not set" in asked[1].found
    assert "log" not in by_subject(environ), "nobody wants it"
