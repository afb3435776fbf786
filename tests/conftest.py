"""The fixtures that every test may use: databases, Redis, settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from app.runtime.valkey import ValkeyServer
from app.settings import Settings, inherited_environment, load_settings
from tests.support import processes
from tests.support.brokers import BROKER_VARIABLE, purge
from tests.support.database import cloned_database, empty_database
from tests.support.prepared import PreparedCommand
from tests.support.servers import (
    CLUSTER_VARIABLE,
    FAST,
    QUICK_LOGINS,
    Cluster,
    DatabaseUrls,
    PrivateServers,
    postgres_cluster,
    private_servers,
    surroundings,
    valkey_server,
)

QUEUES = ("default", "doomed", "leaving", "patient", "io", "cpu")
"""The queues that suites use."""
SHARED_CLUSTER = pytest.StashKey[contextlib.ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep room for the cluster that the controller of xdist shares with its workers."""
    config.stash[SHARED_CLUSTER] = contextlib.ExitStack()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start one cluster for all workers; the controller ends it after the last of them."""
    if CLUSTER_VARIABLE not in inherited_environment():
        config.shared_cluster = config.stash[SHARED_CLUSTER].enter_context(postgres_cluster())  # type: ignore[attr-defined]  # read below


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one worker where the cluster is."""
    if hasattr(node.config, "shared_cluster"):
        node.workerinput["cluster"] = node.config.shared_cluster.to_json()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the session started."""
    config.stash[SHARED_CLUSTER].close()
    for guard in processes._guards:
        guard.close()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The PostgreSQL cluster of this session, with the three roles."""
    given = getattr(request.config, "workerinput", {}).get("cluster") or inherited_environment().get(
        CLUSTER_VARIABLE
    )
    if given:
        yield Cluster.from_json(given)
    else:
        with postgres_cluster() as started:
            yield started


@pytest.fixture(scope="module")
def database_urls(cluster: Cluster) -> Iterator[DatabaseUrls]:
    """A migrated database of this module alone: its owner, app, system URLs."""
    with cloned_database(cluster) as urls:
        yield urls


@pytest.fixture
def fresh_database_urls(cluster: Cluster) -> Iterator[DatabaseUrls]:
    """A migrated database of this test alone."""
    with cloned_database(cluster) as urls:
        yield urls


@pytest.fixture
def empty_database_urls(cluster: Cluster) -> Iterator[DatabaseUrls]:
    """A database of this test alone, not migrated."""
    with empty_database(cluster) as urls:
        yield urls


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """The Valkey server of this test process; one who stops it starts it again."""
    with valkey_server() as server:
        yield server


@pytest.fixture(scope="module")
def redis_url(valkey: ValkeyServer) -> str:
    """An empty Redis of this module alone, as long as it runs."""
    import redis  # noqa: PLC0415 - pure tests need no client

    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[str]:
    """The URL of the RabbitMQ server of this test process, which comes from the machine's packages."""
    from tests.services.rabbitmq import rabbitmq_server  # noqa: PLC0415 - only suites over RabbitMQ need it

    with rabbitmq_server() as url:
        yield url


@pytest.fixture(scope="module")
def broker_environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """The broker where it is not Redis: an empty RabbitMQ of this module alone, as long as it runs."""
    if inherited_environment().get(BROKER_VARIABLE) != "rabbitmq":
        return {}
    url = request.getfixturevalue("rabbitmq")
    purge(url, QUEUES)
    return {"BROKER_URL": url}


@pytest.fixture(scope="session")
def prepared_command() -> Iterator[PreparedCommand]:
    """The `quantum` command, imported once for this test process."""
    with contextlib.closing(PreparedCommand()) as command:
        yield command


@pytest.fixture(scope="session")
def killable_servers() -> Iterator[PrivateServers]:
    """Servers of this test process alone, to be killed with -9, which needs no flush to the disk."""
    with private_servers(FAST + QUICK_LOGINS) as servers:
        yield servers


@pytest.fixture(scope="module")
def own_servers(killable_servers: PrivateServers) -> Iterator[PrivateServers]:
    """The same, running, with a database of this module alone, an empty Valkey."""
    with killable_servers.emptied() as servers:
        yield servers


@pytest.fixture(scope="module")
def environ(
    database_urls: DatabaseUrls,
    redis_url: str,
    broker_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The variables that point settings, or a process, to this module's servers."""
    return surroundings(tmp_path_factory.mktemp("state"), database_urls, redis_url, **broker_environ)


@pytest.fixture(scope="module")
def settings(environ: dict[str, str]) -> Settings:
    """Settings of a process over this module's servers."""
    return load_settings(environ)
