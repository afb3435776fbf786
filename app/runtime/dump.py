"""PostgreSQL's own dump programs, their data as a stream, passwords in no argument."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.runtime.failure import RuntimeFailure

PIECE = 1024 * 1024


def dumped(programs: Path, url: str, snapshot: str) -> Iterator[bytes]:
    """Yield the database of `url` as a custom-format dump of one snapshot; raises `RuntimeFailure`."""
    command = [str(programs / "pg_dump"), "-Fc", f"--snapshot={snapshot}", "--no-password"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - a program of our wheel with our arguments
            command, stdout=subprocess.PIPE, stderr=errors, env=_environment(url)
        )
        assert process.stdout is not None
        try:
            while piece := process.stdout.read(PIECE):
                yield piece
        finally:
            process.stdout.close()
            code = process.wait()
        if code != 0:
            errors.seek(0)
            raise RuntimeFailure(f"pg_dump failed: {errors.read(2000).decode(errors='replace').strip()}")


def restored(programs: Path, url: str, pieces: Iterable[bytes]) -> None:
    """Restore a dump into the empty database of `url`, in one transaction; raises `RuntimeFailure`.

    Whatever `pieces` raises leaves the database as empty as it was.
    """
    database = urlsplit(url).path.lstrip("/")
    command = [str(programs / "pg_restore"), "--single-transaction", "--exit-on-error", "--no-password"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - as above
            [*command, f"--dbname={database}"], stdin=subprocess.PIPE, stderr=errors, env=_environment(url)
        )
        assert process.stdin is not None
        try:
            for piece in pieces:
                process.stdin.write(piece)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended before: its exit code tells
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.wait() != 0:
            errors.seek(0)
            raise RuntimeFailure(f"pg_restore failed: {errors.read(2000).decode(errors='replace').strip()}")


def _environment(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
        "LC_ALL": "C",
    }
