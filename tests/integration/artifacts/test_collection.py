"""The collector beside writers: it never takes away what somebody has just put down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from app.artifacts.files import FileStore
from app.db import artifacts
from app.domain.artifacts import ArtifactMissing, Reference
from app.services.artifacts import Artifacts, StepArtifacts
from app.services.collect_artifacts import collect_artifacts
from tests.support.servers import DatabaseUrls
from tests.support.spine import Race, Spine

TEXT = "text/plain"


@pytest.fixture(scope="module")
def spine(database_urls: DatabaseUrls) -> Spine:
    return Spine(database_urls)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    yield FileStore(tmp_path)


def attempt(spine: Spine, store: FileStore, run: UUID, tries: int) -> StepArtifacts:
    return StepArtifacts(Artifacts(store), spine.app, spine.message(run, "a"), tries)


def sha256(reference: dict[str, dict[str, str]]) -> str:
    return reference["$artifact"]["sha256"]


def is_there(spine: Spine, store: FileStore, digest: str) -> bool:
    try:
        store.read(spine.tenant, digest)
    except ArtifactMissing:
        return False
    return True


def test_a_running_attempt_keeps_what_it_put_down(spine: Spine, store: FileStore) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    digest = sha256(attempt(spine, store, run, tries).put(b"mine", TEXT))
    assert collect_artifacts(spine.system, store, 0.0) == 0
    assert is_there(spine, store, digest)
    spine.finish(run, "a", tries, "killed")
    assert collect_artifacts(spine.system, store, 0.0) == 0, "nobody has taken the step over yet"
    spine.send(run)
    spine.claim(run, "a")
    assert collect_artifacts(spine.system, store, 0.0) == 1
    assert not is_there(spine, store, digest)


def test_a_late_owner_puts_nothing_down(spine: Spine, store: FileStore) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    spine.finish(run, "a", tries, "killed")
    digest = sha256(attempt(spine, store, run, tries).put(b"late", TEXT))
    assert not is_there(spine, store, digest)
    assert spine.admin.call("SELECT 1 FROM artifacts WHERE sha256 = %s", (digest,)) == []


def test_a_writer_waits_for_the_collector_then_writes_anew(spine: Spine, store: FileStore) -> None:
    first, second = spine.start({"a": []}), spine.start({"a": []})
    tries = spine.claim(first, "a").tries
    digest = sha256(attempt(spine, store, first, tries).put(b"shared", TEXT))
    spine.finish(first, "a", tries, "killed")
    spine.send(first)
    spine.claim(first, "a")
    mine = spine.claim(second, "a").tries
    deleting, go_on = threading.Event(), threading.Event()

    def delete() -> None:
        deleting.set()
        assert go_on.wait(10)
        store.delete(spine.tenant, digest)

    collector = threading.Thread(
        target=artifacts.forget_unheld, args=(spine.system, spine.tenant, digest, delete), daemon=True
    )
    collector.start()
    assert deleting.wait(10)
    writes = attempt(spine, store, second, mine)
    with spine.session() as session:
        race = Race(session, lambda: _hold(session, writes, digest))
        spine.wait_blocked(race)
        go_on.set()
        collector.join(10)
        assert race.result()
        session.commit()
    assert not is_there(spine, store, digest), (
        "the collector has deleted it; the writer writes after its hold"
    )
    writes.put(b"shared", TEXT)
    assert is_there(spine, store, digest)
    assert collect_artifacts(spine.system, store, 0.0) == 0
    assert is_there(spine, store, digest)


def test_a_collector_leaves_alone_what_a_writer_is_about_to_hold(spine: Spine, store: FileStore) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    digest = sha256(attempt(spine, store, run, tries).put(b"soon", TEXT))
    spine.finish(run, "a", tries, "killed")
    spine.send(run)
    tries = spine.claim(run, "a").tries
    writes = attempt(spine, store, run, tries)
    with spine.session() as session:
        assert _hold(session, writes, digest)
        assert collect_artifacts(spine.system, store, 0.0) == 0, "its hold is not committed yet"
        session.commit()
    assert collect_artifacts(spine.system, store, 0.0) == 0
    assert is_there(spine, store, digest)


def _hold(session: object, writes: StepArtifacts, digest: str) -> bool:
    message, reference = writes.message, Reference(digest, 4, TEXT)
    with session.cursor() as cursor:  # type: ignore[attr-defined]  # a session of psycopg2
        cursor.execute(
            "SELECT hold_artifact(%s, %s, %s, %s, %s, %s, %s)",
            (
                message.tenant_id,
                message.run_id,
                message.key,
                writes.tries,
                digest,
                reference.bytes,
                reference.content_type,
            ),
        )
        return bool(cursor.fetchone()[0])
