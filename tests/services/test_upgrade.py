"""An upgrade of a platform at work: two releases side by side, nothing fails, nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import requests

from app.runtime.ports import free_port
from app.runtime.supervisor import wait_until_healthy
from tests.support.next_release import environment_of, next_release
from tests.support.processes import BIN, OsProcess
from tests.support.rig import Rig, note, rig_on
from tests.support.servers import DatabaseUrls
from tests.support.shell import PASSWORD
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

API = ("granian", "--interface", "wsgi", "--blocking-threads", "4", "--no-ws", "--log-level", "warning")
ROOT_USER = ("--email", "root@platform.example", "--password-stdin")
GIVEN_BACK = "message_of_newer_protocol"
FAN = [f"p{n}" for n in range(4)]
GRAPH = [
    note("start"),
    *(note(key, "start", **{"with": {"seconds": 0.1}}) for key in FAN),
    note("join", *FAN),
    note("tail", "join"),
]


class Load(threading.Thread):
    """Somebody who submits intents and looks at workers and runs, again and again."""

    def __init__(self, base: str, token: str) -> None:
        super().__init__(daemon=True)
        self.base = base
        self.faults: list[str] = []
        self.runs: list[UUID] = []
        self._token = token
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.03):
            answer = self._ask("POST", "/intents", {"type": "core.echo", "spec": {"message": "hello"}})
            if answer is not None:
                self.runs.append(UUID(answer["run"]["id"]))
            self._ask("GET", "/platform/workers")
            self._ask("GET", "/runs?limit=5")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, dict[str, str]] | None:
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": uuid4().hex}
        try:
            answer = requests.request(
                method, f"{self.base}/api/v1{path}", json=body, headers=headers, timeout=30
            )
        except requests.RequestException as fault:
            self.faults.append(f"{method} {path}: {fault}")
            return None
        if answer.status_code not in (200, 202):
            self.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return None
        return dict(answer.json())

    def more(self, count: int = 10) -> None:
        """Wait until so many more were accepted."""
        goal = len(self.runs) + count
        eventually(lambda: len(self.runs) >= goal, within=60, what=lambda: self.faults)

    def end(self) -> None:
        self._ended.set()
        self.join(60)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next_release(tmp_path_factory.mktemp("next") / "release")


@pytest.fixture(scope="module")
def rig(
    environ: dict[str, str], database_urls: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    own = {**environ, "DATABASE_ADMIN_URL": database_urls.admin}
    with rig_on(own, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@dataclass(frozen=True)
class Shell:
    """The installed `quantum` of a release."""

    environ: Mapping[str, str]

    def __call__(self, *arguments: str, typed: str = "", code: int = 0) -> str:
        """Run it to an exit code; return what it said."""
        done = subprocess.run(
            [str(BIN / "quantum"), *arguments],
            input=typed,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{said}"
        return said


@dataclass(frozen=True)
class Stage:
    """A platform of the old release at work, with the shells of both releases."""

    rig: Rig
    tree: Path
    api: OsProcess
    others: tuple[OsProcess, ...]
    workers: tuple[OsProcess, ...]
    load: Load
    old: Shell
    new: Shell
    graphs: list[UUID] = field(default_factory=list)

    def work(self, count: int = 10) -> None:
        """Begin graphs; wait until so many intents more were accepted beside them."""
        self.graphs.extend(self.rig.submit(GRAPH) for _ in range(3))
        self.load.more(count)


def start_api(rig: Rig, name: str, tree: Path | None = None) -> tuple[OsProcess, str]:
    """Start an API; return it with its base URL once it answers."""
    port = str(free_port())
    process = rig.start(name, (*API, "--port", port, "app.wsgi:application"), tree=tree, API_PORT=port)
    wait_until_healthy(f"http://127.0.0.1:{port}")
    return process, f"http://127.0.0.1:{port}"


@pytest.fixture
def stage(rig: Rig, tree: Path) -> Iterator[Stage]:
    """The old release at work."""
    api, base = start_api(rig, "old api")
    others = rig.beat("old beat"), rig.start("old relay", ("quantum", "relay"))
    workers = rig.worker("old0"), rig.worker("old1")
    rig.environ["QUANTUM_URL"] = base
    old, new = Shell(rig.environ), Shell({**rig.environ, **environment_of(tree)})
    old("tenant", "create", "--first", *ROOT_USER, typed=PASSWORD)
    account = {"tenant": "platform", "email": ROOT_USER[1], "password": PASSWORD}
    signed_in = requests.post(f"{base}/api/v1/auth/token", json=account, timeout=30)
    load = Load(base, signed_in.json()["access_token"])
    load.start()
    yield Stage(rig, tree, api, others, workers, load, old, new)
    load.end()


def leaves(process: OsProcess) -> None:
    """End a process as a supervisor does, in good order."""
    process.send(signal.SIGTERM)
    process.wait(within=60)


def test_two_releases_work_side_by_side_until_the_old_one_has_left(stage: Stage) -> None:
    rig, tree, load, old, new = stage.rig, stage.tree, stage.load, stage.old, stage.new
    stage.work()

    # Expand, while everybody works; the release before goes on.
    assert "applied 0004 (expand)" in new("migrate", "--phase", "expand")
    stage.work()
    assert "a newer release has migrated the schema" in old("migrate"), "as a rollback would do"

    # A worker of the next release beside the old ones, then its API, whose messages the old ones give back.
    fresh = [rig.worker("new0", tree=tree)]
    next_api, load.base = start_api(rig, "new api", tree)
    stage.work()
    eventually(lambda: any(GIVEN_BACK in worker.output for worker in stage.workers), within=60)
    refused = new("migrate", "--phase", "contract", code=7)
    assert all(f"{kind} on " in refused for kind in ("api", "beat", "relay", "worker")), refused
    assert "knows 0006" not in refused

    # The old ones leave, one after the other, with work in their hands.
    fresh += [rig.worker("new1", tree=tree)]
    for worker in stage.workers:
        stage.work(3)
        leaves(worker)
    new("migrate", "--phase", "contract", code=7)
    fresh += [rig.beat("new beat", tree=tree), rig.start("new relay", ("quantum", "relay"), tree=tree)]
    for process in (stage.api, *stage.others):
        leaves(process)
    stage.work()
    assert "applied 0006 (contract)" in new("migrate", "--phase", "contract")
    stage.work()

    # Whoever comes late of the old release is told so.
    late = rig.start_worker("late")
    assert late.wait(within=60) != 0
    assert "start the newer release" in late.output
    assert "contracted to 0006" in old("migrate", code=5)
    all_is_well(stage)
    assert {process.exit_code for process in (next_api, *fresh)} == {None}


def all_is_well(stage: Stage) -> None:
    """Check that nobody was refused, that everything was done, once."""
    rig, load = stage.rig, stage.load
    load.end()
    assert load.faults == []
    for run in stage.graphs:
        rig.ends(run)
        rig.checks(run)
    states = "SELECT DISTINCT state::text FROM runs WHERE id = ANY (%s)"
    eventually(lambda: rig.rows(states, load.runs) == [{"state": "succeeded"}], within=60)
    assert rig.rows("SELECT max(tries) AS tries, max(kills) AS kills FROM run_steps") == [
        {"tries": 1, "kills": 0}
    ]
