"""Connections: a pool for each role, transactions as one tenant, single statements on the hot path."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from app.domain.errors import IllegalState, Unavailable
from app.observability import tracing
from app.observability.metrics import DB_POOL_EXHAUSTED, DB_SECONDS

__all__ = ["Connection", "Database", "PoolUse", "Reader", "driver_url", "pools"]

log = logging.getLogger(__name__)

STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_MS = 60_000
CONNECT_TIMEOUT_S = 5
POOL_WAIT_S = 10.0
ILLEGAL_TRANSITION = "QP001"

# The statements inside the SQL functions go by keys: one plan serves all values, planning each would cost
# more than executing. The plan may be made while a table is small, so a sequential scan must not seem cheap.
_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
    f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
    " -c enable_seqscan=off -c plan_cache_mode=force_generic_plan -c jit=off -c timezone=UTC"
)

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # its types are missing
psycopg2.extensions.register_adapter(dict, psycopg2.extras.Json)

PARKED = 8
"""Connections of a pool that stay ready for single statements; the others are for transactions."""

Row = tuple[Any, ...]

_AS_TENANT = "SELECT set_config('app.tenant_id', %(as_tenant)s, true); "
_FUNCTION = re.compile(r"(?:FROM|SELECT) ([a-z_]+)\(")
_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")


def driver_url(url: str) -> str:
    """The libpq URL `postgresql://…` as SQLAlchemy wants it for psycopg2."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("a database URL begins with postgresql://")
    return f"postgresql+psycopg2://{rest}"


class _Pooled(NamedTuple):
    proxy: PoolProxiedConnection
    raw: psycopg2.extensions.connection


class Reader:
    """Reads as one tenant: each statement is one round trip with a transaction of its own."""

    def __init__(self, raw: psycopg2.extensions.connection, tenant_id: UUID) -> None:
        self._raw = raw
        self._tenant_id = str(tenant_id)

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of a statement with parameters written `:so`; it must change nothing."""
        # Two statements in one message are one transaction, so the setting is gone when the answer is here.
        with self._raw.cursor() as cursor:
            cursor.execute(_AS_TENANT + _placed(statement), {**values, "as_tenant": self._tenant_id})
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@lru_cache(maxsize=512)
def _placed(statement: str) -> str:
    """The statement with its parameters as psycopg2 reads them."""
    return _NAMED.sub(r"%(\1)s", statement.replace("%", "%%"))


_INHERITED: list[list[_Pooled]] = []
"""Kept as they are: their end would be sent on sockets that the parent still uses."""
_LIVE: weakref.WeakSet[Database] = weakref.WeakSet()
"""The pools of this process."""


class PoolUse(NamedTuple):
    """Connections of a pool: at work, ready, how many there may be."""

    role: str
    used: int
    idle: int
    limit: int


def pools() -> list[PoolUse]:
    """Return the use of each pool of this process."""
    return [database.use() for database in list(_LIVE)]


class Database:
    """The database as one role sees it; a forked child starts a pool of its own."""

    def __init__(
        self,
        url: str,
        role: str = "app",
        *,
        pool_size: int = 16,
        overflow: int = 12,
        wait_s: float = POOL_WAIT_S,
        connect_timeout_s: int = CONNECT_TIMEOUT_S,
    ) -> None:
        self.role = role
        self._seconds = DB_SECONDS.labels(role)
        self._engine: Engine = create_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=overflow,
            pool_timeout=wait_s,
            pool_use_lifo=True,
            connect_args={
                "options": _OPTIONS,
                "connect_timeout": connect_timeout_s,
                "application_name": f"quantum-{role}",
                "keepalives_idle": 30,
            },
        )
        self._parked: list[_Pooled] = []
        self._limit = pool_size + overflow
        _LIVE.add(self)
        # A child must neither use nor close the sockets it inherits: they are the parent's.
        os.register_at_fork(after_in_child=self._forget_inherited)

    def _forget_inherited(self) -> None:
        _INHERITED.append(self._parked)
        self._parked = []
        self._engine.dispose(close=False)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for tools that need one."""
        return self._engine

    def use(self) -> PoolUse:
        """Return how many connections are at work; parked ones are not."""
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        parked = len(self._parked)
        out, ready = max(pool.checkedout() - parked, 0), pool.checkedin() + parked
        return PoolUse(self.role, out, ready, self._limit)

    @contextlib.contextmanager
    def tenant(self, tenant_id: UUID) -> Iterator[Connection]:
        """One transaction as a tenant: committed at the end, rolled back when anything is raised.

        Raises Unavailable when the database cannot be reached, IllegalState when a transition is refused.
        """
        with self._transaction() as connection:
            connection.exec_driver_sql(_AS_TENANT, {"as_tenant": str(tenant_id)})
            yield connection

    @contextlib.contextmanager
    def system(self) -> Iterator[Connection]:
        """One transaction across tenants. Raises as `tenant` does."""
        with self._transaction() as connection:
            yield connection

    anonymous = system
    """One transaction before the tenant is known: as the app role it sees no tenant's rows."""

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        connection = self._connect()
        try:
            with translated(), connection.begin():
                yield connection
        finally:
            connection.close()

    def _connect(self) -> Connection:
        """A connection that answers: a stale one of the pool is replaced before anything was sent."""
        with translated():
            connection = self._engine.connect()
            if not _stale(connection.connection.dbapi_connection):
                return connection
            connection.invalidate()
            connection.close()
            return self._engine.connect()

    def call(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Execute one statement in a transaction of its own: one round trip, committed when this returns.

        Placeholders are psycopg2's (%s). A connection that went stale in the pool is replaced before the
        statement is sent; once sent it is never repeated here. Raises Unavailable when the database cannot be
        reached: then the statement may have been committed, or not.
        """
        began = time.perf_counter()
        with _traced(statement), self._borrowed() as raw, raw.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            rows: list[Row] = cursor.fetchall() if cursor.description else []
        took_s = time.perf_counter() - began
        self._seconds.observe(took_s)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "statement_ended", extra={"function": _name_of(statement), "ms": round(took_s * 1000, 1)}
            )
        return rows

    @contextlib.contextmanager
    def reading(self, tenant_id: UUID) -> Iterator[Reader]:
        """A reader as a tenant: the quickest way to look at rows, where no two statements need one snapshot.

        Raises Unavailable when the database cannot be reached.
        """
        with self._borrowed() as raw:
            yield Reader(raw, tenant_id)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[psycopg2.extensions.connection]:
        """A connection of the pool whose every statement commits by itself."""
        with translated():
            pooled = self._pooled()
            try:
                yield pooled.raw
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if pooled.raw.closed:
                    pooled.proxy.invalidate()
                raise
            finally:
                self._hand_back(pooled)

    def _pooled(self) -> _Pooled:
        for _ in range(2):
            pooled = self._checked_out()
            if pooled is not None:
                return pooled
            # The whole pool is as old as this connection: begin a new one.
            self.dispose()
        raise Unavailable("database")

    def _checked_out(self) -> _Pooled | None:
        """A connection in autocommit: a parked one, else one of the pool; None when it had gone stale."""
        try:
            pooled = self._parked.pop()
        except IndexError:
            proxy = self._engine.raw_connection()
            raw: Any = proxy.dbapi_connection
            raw.autocommit = True
            pooled = _Pooled(proxy, raw)
        if not _stale(pooled.raw):
            return pooled
        pooled.proxy.invalidate()
        pooled.proxy.close()
        return None

    def _hand_back(self, pooled: _Pooled) -> None:
        """Park the connection for the next statement: giving it back to take it again would cost more."""
        if not pooled.raw.closed and len(self._parked) < PARKED:
            self._parked.append(pooled)
        else:
            _give_back(pooled)

    def dispose(self) -> None:
        """Close the idle connections."""
        while self._parked:
            _give_back(self._parked.pop())
        self._engine.dispose()


def _traced(statement: str) -> contextlib.AbstractContextManager[tracing.Span]:
    """Return the span of a statement, named by the function it calls; its values stay out of it."""
    here = tracing.current()
    if here is None or not here.sampled:
        return tracing.NOTHING
    name = _name_of(statement)
    return tracing.span(name, "client", db__system__name="postgresql", db__operation__name=name)


def _name_of(statement: str) -> str:
    named = _FUNCTION.search(statement)
    return named[1] if named else "statement"


def _give_back(pooled: _Pooled) -> None:
    if not pooled.raw.closed:
        pooled.raw.autocommit = False
    pooled.proxy.close()


def _stale(raw: Any) -> bool:
    """Whether the server has hung up: an idle socket has nothing to read, unless it is the end."""
    if raw is None or raw.closed:
        return True
    return _readable(raw.fileno())


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Database errors of a kind the services know, as their errors."""
    try:
        yield
    except (OperationalError, InterfaceError, psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise Unavailable("database", _first_line(error)) from error
    except PoolExhausted as error:
        DB_POOL_EXHAUSTED.inc()
        raise Unavailable("database", "every connection of the pool is in use") from error
    except (DBAPIError, psycopg2.Error) as error:
        if _sqlstate(error) == ILLEGAL_TRANSITION:
            raise IllegalState(_first_line(error)) from error
        raise


def _sqlstate(error: Exception) -> str | None:
    origin = error.orig if isinstance(error, DBAPIError) else error
    return getattr(origin, "pgcode", None)


def _first_line(error: Exception) -> str:
    origin = error.orig if isinstance(error, DBAPIError) else error
    return str(origin).strip().partition("\n")[0]
