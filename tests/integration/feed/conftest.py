"""A feed process over a database of its own, with an outbox to write to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from app.runtime.ports import LOOPBACK, free_port
from app.settings import Settings
from tests.support.http_api import Caller, Platform, start_platform
from tests.support.processes import BIN, OsProcess
from tests.support.sse import Listener, answers
from tests.support.waiting import eventually

EMIT = "SELECT emit_event(%s, %s, %s, %s, '{}', '{}')"


@dataclass
class FeedRig:
    """The API in this process, the feed in another."""

    platform: Platform
    settings: Settings
    process: OsProcess
    port: int

    def listen(self, caller: Caller, query: str = "", **headers: str) -> Listener:
        return Listener(self.port, caller.token or "", query, headers)

    def emit(self, tenant_id: str | UUID, subject: str, seq: int, kind: str = "run.started") -> None:
        """Commit one event, numbered at once."""
        self.write(tenant_id, subject, seq, kind)
        self.number()

    def write(self, tenant_id: str | UUID, subject: str, seq: int, kind: str = "run.started") -> None:
        """Commit one event that nobody has numbered yet."""
        with self.platform.parts.database.tenant(UUID(str(tenant_id))) as connection:
            connection.exec_driver_sql(EMIT, (str(tenant_id), subject, seq, kind))

    def number(self) -> None:
        """Give the committed events their positions, as a relay would."""
        self.platform.parts.platform.call("SELECT sequence_events(1000)")


@pytest.fixture(scope="module")
def rig(
    settings: Settings, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FeedRig]:
    platform = start_platform(settings)
    port = free_port()
    log: Path = tmp_path_factory.mktemp("feed") / "feed.log"
    command = [str(BIN / "granian"), "--interface", "asgi", "--host", LOOPBACK, "--port", str(port)]
    command += [
        "--workers",
        "1",
        "--workers-kill-timeout",
        "2",
        "--no-ws",
        "--log-level",
        "warning",
        "app.asgi:application",
    ]
    with OsProcess(command, log=log, environ=environ) as process:
        eventually(lambda: answers(port), within=60, what=lambda: process.output)
        yield FeedRig(platform, settings, process, port)
    platform.parts.database.dispose()
    platform.parts.platform.dispose()
