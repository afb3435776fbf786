"""Brings a database to the schema of this release, beside processes that work on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from sqlalchemy.pool import NullPool

from app.db import revisions
from app.db.engine import driver_url
from app.db.schema_state import SchemaState, look, other_origin, raise_floor
from app.domain.upgrades import (
    CONTRACT,
    MigrationRefused,
    Process,
    Revision,
    SchemaDiffers,
    choose,
    who_needs,
)

LOCK_TIMEOUT: Final = "1s"
"""Whoever waits for a lock makes everybody behind it wait, too: the platform stands still so long at most."""
STATEMENT_TIMEOUT: Final = "300s"
PATIENCE_S: Final = 600.0
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
LOOK_S: Final = 0.2
MIGRATION_LOCK: Final = 0x5155414E54554D  # "QUANTUM"
OWNER_ROLE: Final = "quantum_owner"

# A lock that did not come, a deadlock, a server that goes, stops, starts, or is a standby by now.
_PASSING: Final = frozenset({"55P03", "40P01", "57P01", "57P02", "57P03", "25006"})
_HOLDERS: Final = (
    "SELECT DISTINCT a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " JOIN pg_class c ON c.oid = l.relation AND c.relnamespace = 'public'::regnamespace"
    " WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND a.pid <> pg_backend_pid() ORDER BY a.pid"
)

Wait = Callable[[float], object]


class SchemaBusy(MigrationRefused):
    """The locks, the turn or the server did not come within the patience."""


class NotReached(MigrationRefused):
    """The server does not answer, or lets nobody in by this URL."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a migration did, what is left to be asked for; `ahead`: a newer release had migrated already."""

    applied: tuple[Revision, ...]
    left: tuple[Revision, ...]
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a migration would do now, what would be left, who works on the schema."""

    current: str | None
    now: tuple[Revision, ...]
    left: tuple[Revision, ...]
    living: tuple[Process, ...]
    ahead: bool = False

    def needing(self, revision: Revision) -> tuple[Process, ...]:
        """Return the processes that keep the revision from being applied."""
        return who_needs(revision, self.living)


def migrate(
    owner_url: str, phase: str | None = None, *, patience_s: float = PATIENCE_S, wait: Wait = time.sleep
) -> Outcome:
    """Apply revisions that are missing, each as a whole; safe to call twice and from two machines at once.

    Which ones, `choose` says. A lock that does not come within `LOCK_TIMEOUT` is given up and asked for
    again, a server that went away is waited for, until `patience_s` seconds are over: SchemaBusy. Through a
    pooler the URL must be that of the owner itself.

    Raises NotReached; SchemaDiffers; ReleaseTooOld; OutOfOrder; StillNeeded while processes of an older
    release work on what a contract takes away; SQLAlchemy's DBAPIError when a revision cannot be applied.
    """
    return _Migrator(owner_url, phase, time.monotonic() + patience_s, wait).run()


def plan(owner_url: str, phase: str | None = None) -> Plan:
    """Return what `migrate` would do; nothing is changed. Raises as it does."""
    try:
        with _engine(owner_url).connect() as connection:
            return _plan(connection, phase)
    except OperationalError as fault:
        raise NotReached(f"the database does not answer: {_words(fault)}") from fault


def current_revision(url: str) -> str | None:
    """The revision a database stands at, None when it was never migrated."""
    with _engine(url).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def latest_revision() -> str:
    """The newest revision of this release."""
    return revisions.newest()


def difference(url: str) -> str:
    """What keeps this release from working on a database, in words; empty when nothing does."""
    with _engine(url).connect() as connection:
        state = look(connection)
        if state.current is None:
            return "not migrated"
        try:
            if state.ahead:
                return ""
        except MigrationRefused as refused:
            return str(refused)
        needed = revisions.needed()
        late = f"at revision {state.current}, this release needs {needed}" if state.current < needed else ""
        return other_origin(connection, state.current) or late


def foreign(url: str) -> str:
    """What keeps a database from ever being upgraded to this release, in words; empty when nothing does."""
    with _engine(url).connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        return other_origin(connection, current) if current is not None else ""


class _Migrator:
    """One call of `migrate`; what it has applied stays applied, whatever comes between."""

    def __init__(self, owner_url: str, phase: str | None, until: float, wait: Wait) -> None:
        self._engine = _engine(owner_url)
        self._phase = phase
        self._until = until
        self._wait = wait
        self._applied: list[Revision] = []
        self._reached = False

    def run(self) -> Outcome:
        pause = FIRST_PAUSE_S
        while True:
            try:
                with self._turn() as turn, self._engine.connect() as connection:
                    return self._apply(connection, turn)
            except (DBAPIError, PendingRollbackError) as fault:
                if not self._reached and isinstance(fault, OperationalError):
                    raise NotReached(f"the database does not answer: {_words(fault)}") from fault
                if not (self._reached and _passes(fault)):
                    raise
                if time.monotonic() + pause > self._until:
                    raise SchemaBusy(f"given up: {_words(fault)}{self._holders()}") from fault
            self._wait(pause)  # longer than a lock is waited for: what has queued up behind it gets through
            pause = min(pause * 2, LONGEST_PAUSE_S)

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """Be the only migrator: the lock ends with the connection that it is held on, however that ends.

        It belongs to a transaction, so it also holds through a pooler. Whoever waits for it asks again and
        again: a statement that waits has a snapshot, for which CREATE INDEX CONCURRENTLY of the holder would
        wait in turn.
        """
        with self._engine.connect() as turn:
            while True:
                turn.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                taken = turn.execute(
                    text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}
                ).scalar_one()
                self._reached = True
                if taken:
                    break
                turn.rollback()
                if time.monotonic() > self._until:
                    raise SchemaBusy("another migration is at work")
                self._wait(LOOK_S)
            yield turn

    def _apply(self, connection: Connection, turn: Connection) -> Outcome:
        become = _may_become(connection)
        event.listen(connection, "begin", lambda begun: _settle(begun, become))
        planned = _plan(connection, self._phase)
        connection.rollback()
        if planned.ahead:
            return Outcome(tuple(self._applied), (), ahead=True)
        config = _config()
        config.attributes["connection"] = connection
        for revision in planned.now:
            turn.execute(text("SELECT 1"))  # whoever lost its turn must not go on
            if revision.phase == CONTRACT:
                with connection.begin():
                    raise_floor(connection, revision)
            command.upgrade(config, revision.id)
            connection.rollback()
            self._applied.append(revision)
        return Outcome(tuple(self._applied), planned.left)

    def _holders(self) -> str:
        """Return in words who holds locks on our relations: the likely reason."""
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(text(_HOLDERS)).all()
        except DBAPIError:
            return ""
        held = ", ".join(f"{pid} ({name or role})" for pid, role, name in rows[:10])
        return f"; locks are held by the sessions {held}" if held else ""


def _plan(connection: Connection, phase: str | None) -> Plan:
    state: SchemaState = look(connection)
    if state.ahead:
        return Plan(state.current, (), (), state.living, ahead=True)
    current = state.current
    wrong = other_origin(connection, current) if current is not None else ""
    if wrong:
        raise SchemaDiffers(wrong)
    pending = [one for one in revisions.revisions() if current is None or one.id > current]
    now = choose(pending, phase, fresh=current is None)
    return Plan(current, now, tuple(pending[len(now) :]), state.living)


def _settle(connection: Connection, become: bool) -> None:
    """Bound the waits of a transaction that begins; nothing outlives it, as a pooler shares the session."""
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    connection.exec_driver_sql(
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"
    )
    if become:
        connection.exec_driver_sql(f"SET LOCAL ROLE {OWNER_ROLE}")


def _may_become(connection: Connection) -> bool:
    asked = text("SELECT current_user <> :owner AND pg_has_role(current_user, :owner, 'MEMBER')")
    answer = bool(connection.execute(asked, {"owner": OWNER_ROLE}).scalar_one())
    connection.rollback()
    return answer


def _passes(fault: DBAPIError | PendingRollbackError) -> bool:
    """Tell whether the same may go well soon; a connection lost outside of a transaction is pending, too."""
    if isinstance(fault, PendingRollbackError):
        return True
    code = getattr(fault.orig, "pgcode", None)
    return fault.connection_invalidated or code is None or code in _PASSING


def _words(fault: DBAPIError | PendingRollbackError) -> str:
    words = fault.orig if isinstance(fault, DBAPIError) else fault
    return str(words).strip().partition("\n")[0]


def _engine(url: str) -> Engine:
    return create_engine(
        driver_url(url), poolclass=NullPool, connect_args={"application_name": "quantum-migrate"}
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config
