"""An embedded Valkey server: a Redis-compatible broker that keeps its data."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import redis

from app.runtime.binaries import valkey_server
from app.runtime.guard import Guard
from app.runtime.identity import Identity
from app.runtime.ports import LOOPBACK, free_port
from app.runtime.server import EmbeddedServer, ServerProcess


class ValkeyServer(EmbeddedServer):
    """A server with its data under `state/valkey`, on a loopback port with a password; durable by default."""

    def __init__(
        self, state: Path, guard: Guard, identity: Identity, password: str, persist: bool = True
    ) -> None:
        self.data = state / "valkey"
        self.port = 0
        self._state = state
        self._identity = identity
        self._password = password
        self._persist = persist
        super().__init__(
            ServerProcess("Valkey", state / "log" / "valkey.log", guard, identity, signal.SIGTERM)
        )

    @property
    def url(self) -> str:
        """The URL that clients use."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def start(self, preferred_port: int | None = None) -> None:
        """Serve the data kept by earlier starts; raises `RuntimeFailure`."""
        program = valkey_server(self._state, self._identity)
        if not self.data.is_dir():
            self.data.mkdir(mode=0o700)
            self._identity.own(self.data)
        # The password stands in a file: arguments are seen by every user of the machine.
        config = self.data / "valkey.conf"
        config.unlink(missing_ok=True)
        config.touch(mode=0o600)
        self.port = free_port(preferred_port or self.port or None)
        config.write_text(
            f"bind {LOOPBACK}\nport {self.port}\nrequirepass {self._password}\ndir {self.data}\n"
            f"appendonly {'yes' if self._persist else 'no'}\nappendfsync everysec\nsave ''\n"
            # A broker must refuse work when memory ends, never forget some of it.
            "maxmemory-policy noeviction\n"
            # A title would overwrite the environment, by which a cleaner tells whose process it is.
            "set-proc-title no\n"
        )
        self._identity.own(config)
        self._process.start([str(program), str(config)], self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())  # not up yet: asked again
        return False
