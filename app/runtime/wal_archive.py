"""The write-ahead log beside the base backups: received as it is written, sealed segment by segment."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from app.db.engine import Database
from app.db.slots import Slot, server_id, slots
from app.domain.errors import Unavailable
from app.observability.logging import get_log
from app.runtime import backup_files as files
from app.runtime.backup_store import BackupStore, Stream
from app.runtime.dump import server_environment
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.security.key_ring import KeyRing
from app.security.sealed_stream import unsealed

SLOT: Final = "quantum_backup"
SUFFIX: Final = ".qpwal"
COMPLETE: Final = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
PARTIAL: Final = ".partial"
FOLDER: Final = "wal/"
MARK: Final = f"{FOLDER}server"
"""Names the server whose log it is."""
LOOK_EVERY_S: Final = 1.0
ASK_EVERY: Final = 10
"""So many looks apart the server is asked whether it still keeps the slot."""
COPY_EVERY: Final = 60
"""So many looks apart the unfinished segment is copied to a store that outlives the machine."""
STOP_WITHIN_S: Final = 10.0
PIECE: Final = 1024 * 1024

log = get_log(__name__)


class WalReceiver:
    """Runs `pg_receivewal` over a slot of the server, which keeps what nobody has fetched yet.

    Segments are received into `spool`, a folder of this machine, kept sealed in `store`. `begins` is called
    with True when the log is received anew: there was no slot, or the server had given it up; with False when
    it goes on.
    """

    def __init__(
        self,
        programs: Path,
        admin_url: str,
        store: BackupStore,
        spool: Path,
        ring: KeyRing,
        slot: str = SLOT,
        begins: Callable[[bool], None] = lambda anew: None,  # noqa: ARG005 - it may be named
    ) -> None:
        self._program = str(programs / "pg_receivewal")
        self._environment = server_environment(admin_url)
        self._server = Database(admin_url, "receiver", pool_size=1, overflow=0)
        self._spool = spool
        self._archive = WalArchive(store, ring)
        self._slot = slot
        self._begins = begins

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop`; a server that goes away is waited for.

        Raises `RuntimeFailure`, also once the server has given the slot up: the next run begins anew.
        """
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prepare()
        guard = Guard()
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL with our arguments
            [self._program, f"--slot={self._slot}", f"--directory={self._spool}", "--no-password"],
            env=self._environment,
            start_new_session=True,
        )
        guard.watch(process.pid, signal.SIGINT)
        looks = 0
        try:
            while process.poll() is None and not stop.wait(LOOK_EVERY_S):
                self._archive.seal_complete(self._spool)
                looks += 1
                if looks % COPY_EVERY == 0:
                    self._archive.copy_partial(self._spool)
                if looks % ASK_EVERY == 0:
                    self._ask()
            if process.poll() is not None:
                raise RuntimeFailure(
                    f"pg_receivewal ended with code {process.returncode}: its words are above"
                )
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            guard.forget(process.pid)
            guard.close()
            self._server.dispose()
            self._archive.seal_complete(self._spool)
            self._archive.copy_partial(self._spool)

    def drop(self) -> bool:
        """Give the slot up, so that the server keeps nothing for us any more; False when there is none.

        Raises `RuntimeFailure`, also while somebody receives.
        """
        found = self._found()
        self._server.dispose()  # a restore asks that nobody be connected
        if found is None:
            return False
        self._once("--drop-slot")
        return True

    def _prepare(self) -> None:
        """Have a slot that the server keeps, in a folder with nothing of another server."""
        self._own_store()
        found = self._found()
        if found is not None and found.state != "lost":
            self._begins(False)
            return
        if found is not None:
            log.error("log_slot_lost", slot=self._slot)
            self._once("--drop-slot")
        self._archive.end_partial(self._spool)
        self._once("--create-slot")
        try:
            self._begins(True)
        except BaseException:
            self._once("--drop-slot")  # else the next run would not know that it begins
            raise
        log.warning("log_begins", slot=self._slot)

    def _own_store(self) -> None:
        try:
            self._archive.belong_to(server_id(self._server))
        except Unavailable as away:
            raise RuntimeFailure(str(away)) from away

    def _ask(self) -> None:
        """Raise `RuntimeFailure` once the slot is lost; pg_receivewal would ask for it for ever."""
        try:
            found = next((slot for slot in slots(self._server) if slot.name == self._slot), None)
        except Unavailable:
            return  # it is waited for
        if found is None or found.state == "lost":
            raise RuntimeFailure(
                f"the server has given the slot {self._slot} up: the log has a gap from here"
            )

    def _found(self) -> Slot | None:
        try:
            return next((slot for slot in slots(self._server) if slot.name == self._slot), None)
        except Unavailable as away:
            raise RuntimeFailure(str(away)) from away

    def _once(self, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - as above
            [self._program, f"--slot={self._slot}", *arguments, "--no-password"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeFailure(f"pg_receivewal {arguments[0]} failed: {done.stderr.strip()}")


class WalArchive:
    """The sealed segments of one server's log in a store."""

    def __init__(self, store: BackupStore, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring
        self._copied: dict[str, float] = {}

    def belong_to(self, server: str) -> None:
        """Be of this server's log from now on; raises `RuntimeFailure` when it is of another one's."""
        if MARK not in self._store.names():
            self._store.write(MARK, [server.encode()])
        if b"".join(self._store.read(MARK)).decode() != server:
            raise RuntimeFailure(
                f"{self._store} holds the log of another server: move `wal` with `receiving` away, or name"
                " another place"
            )

    def seal_complete(self, spool: Path) -> int:
        """Seal the segments that are whole under the newest key, remove what came; return how many."""
        count = 0
        for segment in sorted(spool.iterdir()):
            if not COMPLETE.fullmatch(segment.name):
                continue
            self._seal(segment)
            segment.unlink()
            if self._copied.pop(f"{segment.name}{PARTIAL}", None) is not None:
                self._store.delete(self._name(f"{segment.name}{PARTIAL}"))
            count += 1
        return count

    def copy_partial(self, spool: Path) -> None:
        """Keep the unfinished segment as far as it goes, where the store outlives this machine."""
        for path in spool.glob(f"*{PARTIAL}") if self._store.apart else ():
            with contextlib.suppress(FileNotFoundError):  # it has just been finished
                written = path.stat().st_mtime
                if self._copied.get(path.name) != written:
                    self._seal(path)
                    self._copied[path.name] = written

    def end_partial(self, spool: Path) -> None:
        """Seal the segment that will not be finished any more: recovery reads to its zeros."""
        for path in spool.glob(f"*{PARTIAL}"):
            path.rename(path.with_name(path.name.removesuffix(PARTIAL)))
        self.seal_complete(spool)

    def _seal(self, path: Path) -> None:
        files.write(self._store, self._name(path.name), _read(path), self._ring.newest)

    def _name(self, segment: str) -> str:
        return f"{FOLDER}{segment}.{self._ring.newest_id}{SUFFIX}"


def spool_in(folder: Path) -> Path:
    """Return where segments are received; only the last, unfinished one stays there, as it is."""
    return folder / "receiving"


def unseal(store: BackupStore, ring: KeyRing, first: str, into: Path, spool: Path | None = None) -> int:
    """Write the segments from `first` on as the server wrote them; return how many there are.

    The one that is not finished counts as far as it goes: from the spool of this machine, else from its copy.
    Raises SealBroken, KeyMissing.
    """
    kept = sorted(_sealed(store), key=lambda found: (found[1].endswith(PARTIAL), found))
    for name, told, key_id in kept:
        segment = told.removesuffix(PARTIAL)
        if (segment < first and not segment.endswith(".history")) or (into / segment).exists():
            continue
        with (into / segment).open("wb") as out:
            for piece in unsealed(Stream(store.read(name)), ring.key(key_id)):
                out.write(piece)
    whole = {told for _, told, _ in kept}
    for path in sorted(spool.glob("*")) if spool is not None and spool.is_dir() else ():
        segment = path.name.removesuffix(PARTIAL)
        if COMPLETE.fullmatch(segment) and segment not in whole:
            shutil.copyfile(path, into / segment)
    return len(list(into.iterdir()))


def forget_before(store: BackupStore, first: str) -> int:
    """Remove the sealed segments before `first`, which no base backup needs; return how many."""
    old = [
        name
        for name, told, _ in _sealed(store)
        if len(segment := told.removesuffix(PARTIAL)) == len(first) and segment < first
    ]
    for name in old:
        store.delete(name)
    return len(old)


def _sealed(store: BackupStore) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each sealed segment, the segment, its key."""
    for name in store.names():
        if name.startswith(FOLDER) and name.endswith(SUFFIX):
            segment, _, key_id = name.removeprefix(FOLDER).removesuffix(SUFFIX).rpartition(".")
            yield name, segment, key_id


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while piece := source.read(PIECE):
            yield piece
