"""PostgreSQL's own dump programs, their data as a stream, passwords in no argument."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit

from app.runtime.failure import RuntimeFailure

PIECE = 1024 * 1024


def dumped(programs: Path, url: str, snapshot: str | None = None) -> Iterator[bytes]:
    """Yield the database of `url` as a custom-format dump, of that snapshot; raises `RuntimeFailure`."""
    of_snapshot = [f"--snapshot={snapshot}"] if snapshot else []
    return _output([str(programs / "pg_dump"), "-Fc", *of_snapshot, "--no-password"], url)


def based(programs: Path, url: str) -> Iterator[bytes]:
    """Yield the whole server as a tar archive with the log that makes it consistent; raises `RuntimeFailure`.

    Needs a role that may replicate. A server with tablespaces of its own is refused by the program.
    """
    command = [str(programs / "pg_basebackup"), "--pgdata=-", "--format=tar", "--wal-method=fetch"]
    return _output([*command, "--checkpoint=fast", "--no-password"], url)


def server_environment(url: str) -> dict[str, str]:
    """Return how libpq's programs are told of a server; `host` in the query names its socket's folder."""
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return {
        "PGHOST": asked.get("host") or parts.hostname or "",
        "PGPORT": asked.get("port") or str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
        "LC_ALL": "C",
    }


def _output(command: list[str], url: str) -> Iterator[bytes]:
    """Yield what the program writes; raises `RuntimeFailure` with its words when it fails."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - as above
            command, stdout=subprocess.PIPE, stderr=errors, env=server_environment(url)
        )
        assert process.stdout is not None
        try:
            while piece := process.stdout.read(PIECE):
                yield piece
        finally:
            process.stdout.close()
            code = process.wait()
        if code != 0:
            raise failed(command[0], errors)


def failed(program: str, errors: IO[bytes]) -> RuntimeFailure:
    """Return what to raise for a program that wrote its words to this file."""
    errors.seek(0)
    words = errors.read(2000).decode(errors="replace").strip()
    return RuntimeFailure(f"{Path(program).name} failed: {words}")
