"""The fixtures that every test may use: databases, Redis, settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from app.runtime.valkey import ValkeyServer
from app.settings import Settings, inherited_environment, load_settings
from tests.support import processes
from tests.support.brokers import REDIS_BROKER, over_rabbitmq
from tests.support.database import cloned_database, empty_database
from tests.support.prepared import PreparedPrograms, close_programs, programs
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

if TYPE_CHECKING:
    from tests.services.rabbitmq import RabbitHosts, RabbitNode

SHARED_SERVERS = pytest.StashKey[contextlib.ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep room for the servers that the controller of xdist shares with its workers; hurry no property."""
    config.stash[SHARED_SERVERS] = contextlib.ExitStack()
    # The first text that Hypothesis draws in a fresh checkout costs a second: on a busy machine no finding.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about Redis as the broker where another one is asked for."""
    if over_rabbitmq():
        left_out = [item for item in items if item.get_closest_marker(REDIS_BROKER)]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start one cluster, one RabbitMQ for all workers; the controller ends them after the last of them."""
    started = config.stash[SHARED_SERVERS]
    if CLUSTER_VARIABLE not in inherited_environment():
        config.shared_cluster = started.enter_context(postgres_cluster())  # type: ignore[attr-defined]  # read below
    if over_rabbitmq():
        config.shared_rabbitmq = started.enter_context(rabbitmq_of_a_session()).url  # type: ignore[attr-defined]  # read below


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one worker where the shared servers are."""
    if hasattr(node.config, "shared_cluster"):
        node.workerinput["cluster"] = node.config.shared_cluster.to_json()
    if hasattr(node.config, "shared_rabbitmq"):
        node.workerinput["rabbitmq"] = node.config.shared_rabbitmq


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the session started."""
    config.stash[SHARED_SERVERS].close()
    close_programs()
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


def rabbitmq_of_a_session() -> contextlib.AbstractContextManager[RabbitNode]:
    """Start a RabbitMQ, which comes from the machine's packages, with virtual hosts for every module."""
    from tests.services.rabbitmq import HOSTS, rabbitmq_node  # noqa: PLC0415 - only suites over RabbitMQ need it

    return rabbitmq_node(hosts=HOSTS)


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> Iterator[RabbitHosts]:
    """The virtual hosts of a running RabbitMQ that this test process may take."""
    from tests.services.rabbitmq import RabbitHosts  # noqa: PLC0415 - as above

    told = getattr(request.config, "workerinput", {})
    if "rabbitmq" in told:
        number = int(told["workerid"].removeprefix("gw"))
        yield RabbitHosts.of(told["rabbitmq"], number, told["workercount"])
    else:
        with rabbitmq_of_a_session() as node:
            yield RabbitHosts.of(node.url)


@pytest.fixture(scope="module")
def broker_environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """The broker where it is not Redis: a virtual host of RabbitMQ for this module alone."""
    return {"BROKER_URL": request.getfixturevalue("rabbitmq").take()} if over_rabbitmq() else {}


@pytest.fixture(scope="session")
def prepared_command() -> PreparedPrograms:
    """The `quantum` command, imported once for this test process."""
    return programs()


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
