"""The write-ahead log beside the base backups: received as it is written, sealed segment by segment."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.runtime import backup_files as files
from app.runtime.dump import server_environment
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.security.key_ring import KeyRing
from app.security.sealed_stream import unsealed

SLOT: Final = "quantum_backup"
SUFFIX: Final = ".qpwal"
COMPLETE: Final = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
LOOK_EVERY_S: Final = 1.0
STOP_WITHIN_S: Final = 10.0
PIECE: Final = 1024 * 1024


class WalReceiver:
    """Runs `pg_receivewal` over a slot of the server, which keeps what nobody has fetched yet."""

    def __init__(self, programs: Path, admin_url: str, folder: Path, ring: KeyRing) -> None:
        self._program = str(programs / "pg_receivewal")
        self._environment = server_environment(admin_url)
        self._folder = folder
        self._ring = ring

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop`; a server that is away is waited for. Raises `RuntimeFailure`."""
        open_folder(self._folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed_folder(self._folder).mkdir(mode=0o700, exist_ok=True)
        self._once("--create-slot", "--if-not-exists")
        guard = Guard()
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL with our arguments
            [self._program, f"--slot={SLOT}", f"--directory={open_folder(self._folder)}", "--no-password"],
            env=self._environment,
            start_new_session=True,
        )
        guard.watch(process.pid, signal.SIGINT)
        try:
            while process.poll() is None and not stop.wait(LOOK_EVERY_S):
                seal_complete(self._folder, self._ring)
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
            seal_complete(self._folder, self._ring)

    def drop(self) -> None:
        """Give the slot up, so that the server keeps nothing for us any more; raises `RuntimeFailure`."""
        self._once("--drop-slot")

    def _once(self, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - as above
            [self._program, f"--slot={SLOT}", *arguments, "--no-password"],
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
        segment = path.name.removesuffix(".partial")
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
