"""The write-ahead log beside the base backups: received as it is written, sealed segment by segment."""

from __future__ import annotations

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
from app.runtime.dump import server_environment
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.security.key_ring import KeyRing
from app.security.sealed_stream import unsealed

SLOT: Final = "quantum_backup"
SUFFIX: Final = ".qpwal"
COMPLETE: Final = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
PARTIAL: Final = ".partial"
LOOK_EVERY_S: Final = 1.0
ASK_EVERY: Final = 10
"""So many looks apart the server is asked whether it still keeps the slot."""
STOP_WITHIN_S: Final = 10.0
PIECE: Final = 1024 * 1024

log = get_log(__name__)


class WalReceiver:
    """Runs `pg_receivewal` over a slot of the server, which keeps what nobody has fetched yet.

    `begins` is called with True when the log is received anew: there was no slot, or the server had given it
    up; with False when it goes on.
    """

    def __init__(
        self,
        programs: Path,
        admin_url: str,
        folder: Path,
        ring: KeyRing,
        slot: str = SLOT,
        begins: Callable[[bool], None] = lambda anew: None,  # noqa: ARG005 - it may be named
    ) -> None:
        self._program = str(programs / "pg_receivewal")
        self._environment = server_environment(admin_url)
        self._server = Database(admin_url, "receiver", pool_size=1, overflow=0)
        self._folder = folder
        self._ring = ring
        self._slot = slot
        self._begins = begins

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop`; a server that goes away is waited for.

        Raises `RuntimeFailure`, also once the server has given the slot up: the next run begins anew.
        """
        open_folder(self._folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed_folder(self._folder).mkdir(mode=0o700, exist_ok=True)
        self._prepare()
        guard = Guard()
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL with our arguments
            [
                *(self._program, f"--slot={self._slot}", f"--directory={open_folder(self._folder)}"),
                "--no-password",
            ],
            env=self._environment,
            start_new_session=True,
        )
        guard.watch(process.pid, signal.SIGINT)
        looks = 0
        try:
            while process.poll() is None and not stop.wait(LOOK_EVERY_S):
                seal_complete(self._folder, self._ring)
                looks += 1
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
            seal_complete(self._folder, self._ring)

    def drop(self) -> bool:
        """Give the slot up, so that the server keeps nothing for us any more; False when there is none.

        Raises `RuntimeFailure`, also while somebody receives.
        """
        if self._found() is None:
            return False
        self._once("--drop-slot")
        return True

    def _prepare(self) -> None:
        """Have a slot that the server keeps, in a folder with nothing of another server."""
        self._own_folder()
        found = self._found()
        if found is not None and found.state != "lost":
            self._begins(False)
            return
        if found is not None:
            log.error("log_slot_lost", slot=self._slot)
            self._once("--drop-slot")
        end_partial(self._folder, self._ring)
        self._once("--create-slot")
        try:
            self._begins(True)
        except BaseException:
            self._once("--drop-slot")  # else the next run would not know that it begins
            raise
        log.warning("log_begins", slot=self._slot)

    def _own_folder(self) -> None:
        mark = sealed_folder(self._folder) / "server"
        try:
            name = server_id(self._server)
        except Unavailable as away:
            raise RuntimeFailure(str(away)) from away
        if not mark.is_file():
            mark.write_text(name)
        if mark.read_text() != name:
            raise RuntimeFailure(
                f"{self._folder} holds the log of another server: move `wal` and `receiving` away, or name"
                " another folder"
            )

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


def open_folder(folder: Path) -> Path:
    """Return where segments are received; only the last, unfinished one stays there, as it is."""
    return folder / "receiving"


def sealed_folder(folder: Path) -> Path:
    """Return where whole segments are kept sealed."""
    return folder / "wal"


def end_partial(folder: Path, ring: KeyRing) -> None:
    """Seal the segment that will not be finished any more, as far as it goes: recovery reads to its zeros."""
    for path in open_folder(folder).glob(f"*{PARTIAL}"):
        path.rename(path.with_name(path.name.removesuffix(PARTIAL)))
    seal_complete(folder, ring)


def seal_complete(folder: Path, ring: KeyRing) -> int:
    """Seal the segments that are whole under the newest key, remove them as they came; return how many."""
    count = 0
    for segment in sorted(open_folder(folder).iterdir()):
        if not COMPLETE.fullmatch(segment.name):
            continue
        draft = sealed_folder(folder) / f"{segment.name}{files.DRAFT}"
        draft.unlink(missing_ok=True)  # of a receiver that died
        files.write(draft, _read(segment), ring.newest)
        draft.rename(sealed_folder(folder) / f"{segment.name}.{ring.newest_id}{SUFFIX}")
        segment.unlink()
        count += 1
    return count


def unseal(folder: Path, ring: KeyRing, first: str, into: Path) -> int:
    """Write the segments from `first` on as the server wrote them; return how many there are.

    The one that is not finished counts as far as it goes. Raises SealBroken, KeyMissing.
    """
    count = 0
    for path, segment, key_id in _sealed(folder):
        if segment < first and not segment.endswith(".history"):
            continue
        with path.open("rb") as source, (into / segment).open("wb") as out:
            for piece in unsealed(source, ring.key(key_id)):
                out.write(piece)
        count += 1
    for path in sorted(open_folder(folder).glob("*")) if open_folder(folder).is_dir() else ():
        segment = path.name.removesuffix(PARTIAL)
        if COMPLETE.fullmatch(segment) and not (into / segment).exists():
            shutil.copyfile(path, into / segment)
            count += 1
    return count


def forget_before(folder: Path, first: str) -> int:
    """Remove the sealed segments before `first`, which no base backup needs; return how many."""
    old = [path for path, segment, _ in _sealed(folder) if len(segment) == len(first) and segment < first]
    for path in old:
        path.unlink()
    return len(old)


def _sealed(folder: Path) -> Iterator[tuple[Path, str, str]]:
    for path in sorted(sealed_folder(folder).glob(f"*{SUFFIX}")):
        segment, _, key_id = path.name.removesuffix(SUFFIX).rpartition(".")
        yield path, segment, key_id


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while piece := source.read(PIECE):
            yield piece
