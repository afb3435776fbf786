"""Base backups of a whole server, brought to a moment by the log that was received since."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import tarfile
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Final, cast
from urllib.parse import quote, urlsplit

import psycopg2

from app.runtime import backup_files as files
from app.runtime import wal_archive
from app.runtime.backup_files import BASE, Backup
from app.runtime.backup_store import BackupStore, Stream
from app.runtime.binaries import programs_of
from app.runtime.dump import based
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.runtime.identity import Identity, server_identity
from app.runtime.server import ANSWER_WITHIN_S, ServerProcess
from app.runtime.stages import Stages
from app.security.key_ring import KeyRing

RECOVER_WITHIN_S: Final = 3600.0
ASK_EVERY_S: Final = 0.25
OPTIONS: Final = (
    *("listen_addresses=", "hot_standby=off", "archive_mode=off", "shared_preload_libraries=", "fsync=off"),
    *("ssl=off", "recovery_target_action=promote", "logging_collector=off", "log_destination=stderr"),
)
TOO_SHORT: Final = "recovery ended before configured recovery target was reached"
_HOLD: Final = "SELECT pg_create_physical_replication_slot(%s, true, true)"
_BEFORE: Final = """
  SELECT pg_walfile_name(pg_current_wal_insert_lsn()), version_num FROM public.alembic_version
"""


def create_base(
    programs: Path, admin_url: str, store: BackupStore, ring: KeyRing, now: datetime, name: str | None = None
) -> Backup:
    """Keep a base backup of the whole server, sealed, with its manifest; raises `RuntimeFailure`.

    Needs a superuser that may replicate. It is of use from the moment on that its manifest names as its end.
    """
    name = name or files.new_name(now, BASE)
    try:
        with contextlib.closing(psycopg2.connect(admin_url)) as connection, connection.cursor() as cursor:
            connection.autocommit = (
                True  # a transaction held open for so long would keep the vacuum from its work
            )
            # The archive ends with the log since its start, which the server must not recycle before. The
            # slot goes with this connection; where the server has none left it may succeed without.
            with contextlib.suppress(psycopg2.errors.ConfigurationLimitExceeded):
                cursor.execute(_HOLD, (f"quantum_base_{secrets.token_hex(4)}",))
            cursor.execute(_BEFORE)
            wal_from, revision = cursor.fetchone() or ("", "")
            sha256, size = files.write(store, name + files.SUFFIX, based(programs, admin_url), ring.newest)
            cursor.execute("SELECT clock_timestamp()")
            (ended_at,) = cursor.fetchone() or (now,)
            version = connection.info.server_version
    except psycopg2.Error as failed:
        raise RuntimeFailure(f"the database cannot be read: {str(failed).strip()}") from failed
    made = Backup(
        *(name, now.isoformat(), ring.newest_id, revision, version, sha256, size, {}),
        *(BASE, wal_from, ended_at.isoformat()),
    )
    files.keep(store, made, ring.newest)
    return made


def base_for(found: list[Backup], at: datetime) -> Backup:
    """Return the latest base backup that had ended at that moment; raises `RuntimeFailure` for none."""
    fit = [made for made in found if made.kind == BASE and datetime.fromisoformat(made.ended_at) <= at]
    if not fit:
        raise RuntimeFailure(f"no base backup of before {at.isoformat()} is there")
    return fit[-1]


@contextlib.contextmanager
def recovered(
    programs: Path,
    admin_url: str,
    store: BackupStore,
    base: Backup,
    ring: KeyRing,
    at: datetime | None,
    spool: Path | None = None,
    stages: Stages | None = None,
) -> Iterator[str]:
    """Yield the URL of a scratch server as all stood at `at`, without it at the end of the base backup.

    `spool` is where this machine receives the log, if it does: what is newest is there. Only this user can
    connect, by a socket in a folder of his own. Raises `RuntimeFailure`, SealBroken,
    KeyMissing; what was received of the log must reach beyond `at`.
    """
    stages = stages or Stages()
    server_programs = _fit(programs, base)
    state, guard, identity = Path(tempfile.mkdtemp(prefix="quantum-recover-")), Guard(), server_identity()
    server = ServerProcess("PostgreSQL", state / "log" / "postgres.log", guard, identity, signal.SIGINT)
    try:
        for name in ("pg", "wal", "log", "socket"):
            (state / name).mkdir(mode=0o700)
        with stages.stage("base backup unpacked"):
            _extract(store, base, ring, state / "pg")
        with stages.stage("log opened"):
            wal_archive.unseal(store, ring, base.wal_from, state / "wal", spool)
        user = urlsplit(admin_url).username or "postgres"
        _prepare(state, user, identity)
        state.chmod(0o711)
        url = f"postgresql://{quote(user)}@{urlsplit(admin_url).path}?host={quote(str(state / 'socket'))}"
        target = f"recovery_target_time={at.isoformat()}" if at else "recovery_target=immediate"
        command = [str(server_programs / "postgres"), "-D", str(state / "pg")]
        for option in (*OPTIONS, f"unix_socket_directories={state / 'socket'}", *_files(state), target):
            command += ["-c", option]
        try:
            with stages.stage("log replayed"):
                server.start(command, _Promotion(url), RECOVER_WITHIN_S)
        except RuntimeFailure as failure:
            if TOO_SHORT in (state / "log" / "postgres.log").read_text(errors="replace"):
                raise RuntimeFailure(f"what was received of the log does not reach {at}") from failure
            raise
        yield url
    finally:
        server.stop()
        guard.close()
        shutil.rmtree(state, ignore_errors=True)


def _fit(programs: Path, base: Backup) -> Path:
    """Return the programs of the server's major version, whose files are theirs; raises `RuntimeFailure`."""
    major = base.server_version // 10_000
    found = programs_of(major, programs)
    if found is None:
        raise RuntimeFailure(
            f"{base.name} is of PostgreSQL {major}, whose server is not on this machine: install it"
            f" (Debian: postgresql-{major}), or name the folder of its programs by --programs"
        )
    return found


def _extract(store: BackupStore, base: Backup, ring: KeyRing, data: Path) -> None:
    stream = Stream(files.pieces(store, base, ring))
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:  # it only reads
        archive.extractall(data, filter="data")
    while stream.read(1 << 20):
        pass  # to the mark of the last piece: a cut archive shows


def _prepare(state: Path, user: str, identity: Identity) -> None:
    """Let the server fetch the log from us, and nobody but us connect."""
    (state / "pg" / "recovery.signal").touch()
    (state / "pg" / "standby.signal").unlink(missing_ok=True)
    (state / "pg" / "postgresql.conf").touch()  # Debian keeps its own elsewhere
    (state / "hba.conf").write_text("local all all peer map=us\n")
    (state / "ident.conf").write_text(f'us "{pwd.getpwuid(os.getuid()).pw_name}" "{user}"\n')
    for path, _, names in os.walk(state):
        for each in (path, *(os.path.join(path, name) for name in names)):  # noqa: PTH118 - as os.walk gives them
            identity.own(Path(each))


def _files(state: Path) -> tuple[str, ...]:
    return (
        f"hba_file={state / 'hba.conf'}",
        f"ident_file={state / 'ident.conf'}",
        f"restore_command=cp '{state / 'wal'}/%f' '%p'",
    )


class _Promotion:
    """Tells whether a server has recovered; asks it now and then, as each answer costs it a process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._next = 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + ASK_EVERY_S
        try:
            with (
                contextlib.closing(
                    psycopg2.connect(self._url, connect_timeout=ANSWER_WITHIN_S)
                ) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("SELECT NOT pg_is_in_recovery()")
                return bool((cursor.fetchone() or (False,))[0])
        except psycopg2.OperationalError:
            return False  # it recovers still
