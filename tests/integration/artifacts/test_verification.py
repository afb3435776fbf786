"""A backup's artifacts are compared with the store: what is lost is named, what was collected is not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from app.artifacts.files import FileStore
from app.commands.backup_proof import inspect
from app.db.engine import Database
from app.runtime.failure import RuntimeFailure
from app.services import verify_artifacts as service
from app.services.verify_artifacts import verify_artifacts
from app.settings import load_settings
from tests.support.servers import DatabaseUrls

KEPT, LOST, SHORT, DAMAGED, COLLECTED = (f"content {n}".encode() for n in range(5))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Copy:
    """A database as a backup restored it, its store, the platform that went on."""

    def __init__(self, copy: DatabaseUrls, live: DatabaseUrls, folder: Path) -> None:
        self.url = copy.admin
        self.copy = Database(copy.admin, "admin")
        self.live = Database(live.admin, "admin")
        self.folder = folder
        self.store = FileStore(folder)
        self.tenant = uuid4()
        for database in (self.copy, self.live):
            database.call(
                "INSERT INTO tenants (id, slug, name) VALUES (%s, %s, 'T')",
                (self.tenant, f"t{uuid4().hex[:9]}"),
            )
        for content in (KEPT, LOST, SHORT, DAMAGED, COLLECTED):
            self.row(self.copy, content)
        for content in (KEPT, LOST, SHORT, DAMAGED):
            self.row(self.live, content)
        for content in (KEPT, SHORT, DAMAGED):
            self.store.put(self.tenant, digest(content), content)
        self.place(SHORT).write_bytes(b"x")
        self.place(DAMAGED).write_bytes(bytes(len(DAMAGED)))

    def row(self, database: Database, content: bytes) -> None:
        database.call(
            "INSERT INTO artifacts (tenant_id, sha256, bytes) VALUES (%s, %s, %s)",
            (self.tenant, digest(content), len(content)),
        )

    def place(self, content: bytes) -> Path:
        return self.folder / str(self.tenant) / digest(content)[:2] / digest(content)

    def lost(self, live: bool = True, content: bool = False) -> dict[str, str]:
        found = verify_artifacts(self.copy, self.store, self.live if live else None, content=content)
        assert found.rows == 5
        return {each.sha256: each.reason for each in found.lost if each.tenant_id == self.tenant}


@pytest.fixture
def copy(fresh_database_urls: DatabaseUrls, database_urls: DatabaseUrls, tmp_path: Path) -> Copy:
    return Copy(fresh_database_urls, database_urls, tmp_path)


def test_what_the_store_has_lost_is_named(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "AT_ONCE", 2)
    by_size = {digest(LOST): "missing", digest(SHORT): f"1 bytes instead of {len(SHORT)}"}
    assert copy.lost() == by_size
    assert copy.lost(content=True) == {**by_size, digest(DAMAGED): "damaged"}
    assert copy.lost(live=False) == {**by_size, digest(COLLECTED): "missing"}


def test_nothing_counts_as_collected_by_a_platform_that_knows_no_such_tenant(copy: Copy) -> None:
    copy.live.call("DELETE FROM artifacts WHERE tenant_id = %s", (copy.tenant,))
    assert set(copy.lost()) == set(), "all was collected"
    copy.live.call("DELETE FROM tenants WHERE id = %s", (copy.tenant,))
    assert digest(COLLECTED) in copy.lost()


@pytest.fixture
def looked(copy: Copy, environ: dict[str, str]) -> Callable[..., None]:
    """The look of `quantum backup verify` at the copy."""
    settings = load_settings({**environ, "ARTIFACT_DIR": str(copy.folder)})
    return lambda revision="0001", artifacts="size": inspect(copy.url, revision, settings, artifacts)


def test_a_backup_without_its_artifacts_is_not_verified(
    copy: Copy, looked: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeFailure, match="2 of 5 artifacts are not in the store") as told:
        looked()
    assert f"{copy.tenant}/{digest(LOST)}: missing" in str(told.value)
    looked(artifacts="none")
    for content in (LOST, SHORT):
        copy.place(content).unlink(missing_ok=True)
        copy.store.put(copy.tenant, digest(content), content)
    looked()
    assert "5 artifacts are in the store, 1 collected since" in capsys.readouterr().out


def test_a_backup_of_another_build_is_not_verified(
    copy: Copy, looked: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    looked("0000", "none")
    assert "`quantum migrate` brings it to" in capsys.readouterr().out
    copy.copy.call("COMMENT ON TABLE alembic_version IS 'of another text'")
    with pytest.raises(RuntimeFailure, match="made by another build"):
        looked(artifacts="none")
