"""The demo's stage: the whole platform started as `quantum up` starts it, with two tenants."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.client.http import ApiClient, ApiProblem, sign_in
from app.db.migrate import migrate
from app.domain.identity import PLATFORM_SLUG
from app.domain.upgrades import SchemaDiffers
from app.runtime.demo.claims import Report
from app.runtime.embedded import running_urls, servers_of, side_environment
from app.runtime.failure import RuntimeFailure
from app.runtime.ports import LOOPBACK, free_port
from app.runtime.supervisor import Output, Supervisor, child_environment, read_procfile, wait_until_healthy
from app.settings import Settings, load_settings
from app.settings.servers import wants_embedded
from app.settings.state import state_directory

LINES_KEPT = 20
LINE_WIDTH = 300
UNAUTHORISED, CONFLICT = 401, 409


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the demo keeps between two runs: unique slugs with one password, in a file for its owner alone."""

    suffix: str
    password: str

    def email(self, tenant: str) -> str:
        """The admin's address in a tenant."""
        return f"admin@{tenant}.example"


@dataclass(frozen=True, slots=True)
class Stage:
    """The running platform: settings, supervisor, addresses."""

    settings: Settings
    environ: Mapping[str, str]
    supervisor: Supervisor
    credentials: Credentials
    target_port: int
    receiver_port: int

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return f"http://{LOOPBACK}:{self.settings.api_port}"

    @property
    def flower_url(self) -> str:
        """Where Flower listens."""
        return f"http://{LOOPBACK}:{self.settings.flower_port}"

    @property
    def flower_login(self) -> tuple[str, str]:
        """Flower's user with its password."""
        user, _, password = self.settings.flower_basic_auth.partition(":")
        return user, password

    def client(self, tenant: str) -> ApiClient:
        """A client signed in as the admin of a tenant."""
        token = sign_in(self.api_url, tenant, self.credentials.email(tenant), self.credentials.password)
        return ApiClient(self.api_url, token["access_token"])


@contextmanager
def raised(environ: Mapping[str, str], report: Report) -> Iterator[Stage]:
    """Servers, schema, all processes, stopped at the end; raises RuntimeFailure when another demo runs."""
    environ = side_environment(environ, "demo")
    state = state_directory(environ)
    if running_urls(state):
        raise RuntimeFailure("a demo is already running here")
    target_port, receiver_port = free_port(), free_port()
    log: deque[str] = deque(maxlen=LINES_KEPT)
    with ExitStack() as stack:
        served = _served(stack, environ, report) | _choices(target_port, receiver_port)
        settings = load_settings(served)
        report.claim("PostgreSQL and the Redis-compatible server answer", settings.database_url)
        report.claim("the schema is migrated", True)
        specs = [spec for spec in read_procfile() if spec.name != "receiver"]
        supervisor = Supervisor(specs, child_environment(served, state), _logger(state, log))
        stack.enter_context(supervisor.running())
        stage = Stage(settings, served, supervisor, _credentials(state), target_port, receiver_port)
        try:
            wait_until_healthy(stage.api_url)
            yield stage
        except BaseException:
            # What the processes said last is the first thing to look at.
            for line in log:
                report.say(line[:LINE_WIDTH])
            report.say(f"the whole log: {state / 'log' / 'demo.log'}")
            raise


def _served(stack: ExitStack, environ: Mapping[str, str], report: Report) -> dict[str, str]:
    """Start the servers, migrate; what an earlier build of an unreleased schema has left is made anew."""
    with ExitStack() as first:
        served = dict(first.enter_context(servers_of(environ)))
        try:
            migrate(load_settings(served).database_owner_url)
        except SchemaDiffers as differs:
            if not wants_embedded(environ):
                raise RuntimeFailure(f"the database was {differs}") from differs
        else:
            stack.push(first.pop_all())
            return served
    report.say("the demo's database is of an earlier build: it is made anew")
    shutil.rmtree(state_directory(environ))
    served = dict(stack.enter_context(servers_of(environ)))
    migrate(load_settings(served).database_owner_url)
    return served


def _choices(*targets: int) -> dict[str, str]:
    """Ports that are free here, what the operations may reach, a password for Flower's API."""
    return {
        "API_PORT": str(free_port(8000)),
        "FEED_PORT": str(free_port(8001)),
        "FLOWER_PORT": str(free_port(5555)),
        "FLOWER_BASIC_AUTH": f"demo:{secrets.token_urlsafe(12)}",
        "QUANTUM_ALLOWED_HTTP_TARGETS": ",".join(f"{LOOPBACK}:{port}" for port in targets),
        "QUANTUM_DATA_ROOTS": sysconfig.get_path("stdlib"),
    }


def _logger(state: Path, kept: deque[str]) -> Output:
    path = state / "log" / "demo.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    lock = threading.Lock()

    def write(name: str, line: str) -> None:
        with lock, path.open("a") as file:
            kept.append(f"{name}: {line}")
            file.write(f"{name:<7} {line}\n")

    return write


def _credentials(state: Path) -> Credentials:
    path = state / "demo.json"
    if path.exists():
        return Credentials(**json.loads(path.read_text()))
    made = Credentials(secrets.token_hex(3), secrets.token_urlsafe(18))
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(made)))
    return made


def settle_tenants(stage: Stage, report: Report) -> tuple[ApiClient, ApiClient]:
    """The two tenants, made at the first demo, signed in at every one."""
    made = stage.credentials
    try:
        root = stage.client(PLATFORM_SLUG)
    except ApiProblem as problem:
        if problem.status != UNAUTHORISED:
            raise
        _first_tenant(stage)
        root = stage.client(PLATFORM_SLUG)
    clients = []
    for name in ("acme", "globex"):
        slug = f"{name}-{made.suffix}"
        _ensure(
            root,
            "/tenants",
            {
                "slug": slug,
                "name": name.title(),
                "admin": {"email": made.email(slug), "password": made.password},
            },
        )
        client = stage.client(slug)
        clients.append(client)
        me = client.get("/me")
        report.claim(f"tenant {slug} has its administrator signed in", me["tenant"] == slug)
    return clients[0], clients[1]


def _first_tenant(stage: Stage) -> None:
    """The very first tenant is made over the database, by the operator's own command."""
    command = [str(Path(sys.executable).parent / "quantum"), "tenant", "create", "--first"]
    command += ["--email", stage.credentials.email(PLATFORM_SLUG), "--password-stdin"]
    done = subprocess.run(  # noqa: S603 - our own command with our own arguments
        command,
        input=stage.credentials.password + "\n",
        env=dict(stage.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeFailure(f"quantum tenant create --first failed: {done.stderr or done.stdout}")


def _ensure(client: ApiClient, path: str, body: dict[str, object]) -> None:
    try:
        client.post(path, body)
    except ApiProblem as problem:
        if problem.status != CONFLICT:
            raise
        # Made by an earlier demo over the same state.
