"""A dump restored as a script that the server at hand understands, all of it or nothing."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import psycopg2

from app.runtime.dump import PIECE, failed, server_environment

SERVERS_OWN: Final = (b"pg_attver=",)
"""What servers since the minor releases of November 2026 keep among the options of a column.

A pg_dump of before takes them for options that somebody has set; no server lets anybody set them.
"""
_SET: Final = re.compile(rb"SET (\w+) = .*;\n")
_PREAMBLE: Final = (b"--", b"\n", b"SET ", b"SELECT pg_catalog.set_config(", b"\\restrict ")
_OPTIONS: Final = re.compile(rb"(ALTER TABLE .* ALTER COLUMN .* SET \()(.*)(\);\n)")
_END_OF_DATA: Final = b"\\.\n"


def restored(programs: Path, url: str, pieces: Iterable[bytes]) -> None:
    """Restore a dump into the empty database of `url`, in one transaction; raises `RuntimeFailure`.

    The server may be older than the programs. Whatever goes wrong, also what `pieces` raises, leaves the
    database as empty as it was: the commit is sent once everything else has been.
    """
    known = _settings(url)
    reads = [str(programs / "pg_restore"), "--exit-on-error", "--file=-"]
    plays = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    with contextlib.ExitStack() as ends:
        unread, refused = (ends.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        reader = _Program(reads, unread, subprocess.PIPE, {"LC_ALL": "C"})
        ends.callback(reader.end)
        player = _Program([*plays, "--file=-"], refused, subprocess.DEVNULL, server_environment(url))
        ends.callback(player.end)
        feeder = _Feeder(reader, pieces)
        ends.callback(feeder.end)
        assert reader.process.stdout is not None
        try:
            player.take(b"BEGIN;\n")
            for part in _together(fitted(reader.process.stdout, known)):
                player.take(part)
            feeder.check()
            if reader.process.wait() != 0:
                raise failed("pg_restore", unread)
            player.take(b"COMMIT;\n")
            player.close()
        except BrokenPipeError:
            player.process.wait()
        if player.process.wait() != 0:
            raise failed("psql", refused)


def fitted(script: Iterable[bytes], known: Collection[str]) -> Iterator[bytes]:
    """Yield the lines of a script of pg_restore without what a server that only knows these settings refuses.

    Settings are left out at its head only: further down such a line may be part of a function. Rows of tables
    are passed on as they are.
    """
    head, data = True, False
    for line in script:
        if data:
            data = line != _END_OF_DATA
        elif head and (found := _SET.fullmatch(line)) and found[1].decode() not in known:
            continue
        elif line.startswith(b"ALTER TABLE ") and (found := _OPTIONS.fullmatch(line)):
            options = [each for each in found[2].split(b", ") if not each.startswith(SERVERS_OWN)]
            if not options:
                continue
            line = found[1] + b", ".join(options) + found[3]  # noqa: PLW2901 - it is the same line
        elif line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
            data = True
        head = head and line.startswith(_PREAMBLE)
        yield line


class _Program:
    """A program that reads what it is given, ended for certain."""

    def __init__(
        self, command: list[str], errors: IO[bytes], output: int, environment: dict[str, str]
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL with our arguments
            command, stdin=subprocess.PIPE, stdout=output, stderr=errors, env=environment
        )

    def take(self, piece: bytes) -> None:
        """Give it a piece; raises BrokenPipeError once it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(piece)

    def close(self) -> None:
        """Tell it that this was all."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):  # what it did not read is lost on purpose
                if pipe is not None:
                    pipe.close()


class _Feeder:
    """Gives a program its pieces while another thread takes what it writes."""

    def __init__(self, program: _Program, pieces: Iterable[bytes]) -> None:
        self._program = program
        self._pieces = pieces
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._feed, name="restore", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Wait for the last piece; raises what kept it from coming."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Stop feeding: the program is to end."""
        self._program.process.kill()
        self._thread.join()

    def _feed(self) -> None:
        try:
            for piece in self._pieces:
                self._program.take(piece)
            self._program.close()
        except BrokenPipeError:
            return  # it has ended before: its exit code tells
        except BaseException as failure:  # raised where the restore waits
            self._failure = failure
            self._program.process.kill()


def _settings(url: str) -> frozenset[str]:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings")
        return frozenset(str(name) for (name,) in cursor.fetchall())


def _together(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines as pieces that are worth a call."""
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
