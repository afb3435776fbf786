"""A server of one's own: `quantum roles`, then `quantum migrate`, make it ready."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import psycopg2
import pytest

from app.settings import inherited_environment
from tests.support.processes import BIN
from tests.support.servers import Cluster, DatabaseUrls


@pytest.fixture
def unmade(cluster: Cluster) -> Iterator[DatabaseUrls]:
    """The URLs of a database that is not there yet."""
    name = f"roles_{uuid4().hex}"
    yield DatabaseUrls.of(cluster, name)
    with contextlib.closing(psycopg2.connect(cluster.url())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def quantum(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "quantum"), *words],
        env={**inherited_environment(), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_roles_then_migrate_make_a_server_ready_each_twice(
    environ: dict[str, str], unmade: DatabaseUrls, cluster: Cluster
) -> None:
    environ = {**environ, **unmade.environment(), "DATABASE_ADMIN_URL": cluster.url()}
    for said in ("created", "was there"):
        done = quantum(environ, "roles")
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    for _ in range(2):
        done = quantum(environ, "migrate")
        assert done.returncode == 0, done.stderr
    assert quantum(environ, "doctor").returncode == 0


def test_a_url_of_another_role_is_refused(
    environ: dict[str, str], unmade: DatabaseUrls, cluster: Cluster
) -> None:
    wrong = unmade.app.replace("quantum_app", "somebody")
    done = quantum(
        {**environ, **unmade.environment(), "DATABASE_URL": wrong}, "roles", "--admin-url", cluster.url()
    )
    assert done.returncode == 5
    assert "the URL of quantum_app must be" in done.stderr
