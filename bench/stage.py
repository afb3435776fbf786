"""The platform under measure: fresh servers, migrated, its shipped processes, one tenant."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from app.bootstrap.stores import build_platform
from app.client.http import ApiClient, sign_in
from app.db.migrate import migrate
from app.domain.identity import PLATFORM_SLUG
from app.runtime.embedded import servers_of, side_environment
from app.runtime.ports import LOOPBACK, free_port
from app.runtime.supervisor import Supervisor, child_environment, read_procfile, wait_until_healthy
from app.services.manage_tenants import create_platform_tenant
from app.settings import Settings, inherited_environment, load_settings
from app.settings.servers import wants_embedded
from app.settings.state import state_directory

SHIPPED = frozenset({"api", "worker", "beat", "relay"})
"""Without Flower: a console that watches is the reader's choice; its events are sent all the same."""
TENANT = "bench"
NO_LIMIT = "100000000"


@dataclass(frozen=True, slots=True)
class Stage:
    """The running platform with a signed-in tenant."""

    settings: Settings
    api_url: str
    token: str
    log: Path

    @property
    def client(self) -> ApiClient:
        """A client of the measured tenant."""
        return ApiClient(self.api_url, self.token)

    @property
    def peer_url(self) -> str:
        """Another database of the same Valkey server, for bare Celery."""
        return self.settings.broker_url.rsplit("/", 1)[0] + "/1"


@contextmanager
def raised(processes: frozenset[str] = SHIPPED) -> Iterator[Stage]:
    """Start it all over an empty state, stop it at the end; raises RuntimeError without durability."""
    environ = side_environment(inherited_environment(), "bench")
    state = state_directory(environ)
    if wants_embedded(environ):
        shutil.rmtree(state, ignore_errors=True)
    with ExitStack() as stack:
        served = dict(stack.enter_context(servers_of(environ)))
        served |= {
            "API_PORT": str(free_port()),
            "FEED_PORT": str(free_port()),
            "FEED_TENANT_STREAMS": "10000",
            "API_RATE_PER_MINUTE": NO_LIMIT,
            "LOG_LEVEL": "WARNING",
        }
        settings = load_settings(served)
        migrate(settings.database_owner_url)
        _check_durability(settings)
        log = state / "log" / "bench.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        out = stack.enter_context(log.open("a"))
        specs = tuple(spec for spec in read_procfile() if spec.name in processes)
        supervisor = Supervisor(
            specs,
            child_environment(served, state),
            lambda name, line: print(f"{name:<7} {line}", file=out, flush=True),
        )
        stack.enter_context(supervisor.running())
        api_url = f"http://{LOOPBACK}:{settings.api_port}"
        wait_until_healthy(api_url)
        yield Stage(settings, api_url, _tenant(settings, api_url), log)


def _tenant(settings: Settings, api_url: str) -> str:
    password = secrets.token_urlsafe(18)
    create_platform_tenant(build_platform(settings), "Benchmark", "root@bench.example", password)
    root = sign_in(api_url, PLATFORM_SLUG, "root@bench.example", password)
    admin = {"email": "admin@bench.example", "password": password}
    ApiClient(api_url, root["access_token"]).post(
        "/tenants", {"slug": TENANT, "name": "Benchmark", "admin": admin}
    )
    token: str = sign_in(api_url, TENANT, "admin@bench.example", password)["access_token"]
    return token


def _check_durability(settings: Settings) -> None:
    """Refuse to measure anything but durable commits of a role that Row-Level Security binds."""
    connection = psycopg2.connect(settings.database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
                " rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
            )
            fsync, commit, unbound = cursor.fetchone() or ("unknown", "unknown", True)
    finally:
        connection.close()
    if (fsync, commit, unbound) != ("on", "on", False):
        raise RuntimeError(f"fsync {fsync}, synchronous_commit {commit}, role above RLS: {unbound}")
