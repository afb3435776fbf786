"""The platform's configuration: one frozen object, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from app.settings.backups import BackupSettings, read_backups
from app.settings.servers import read_server_urls, wants_embedded
from app.settings.sinks import SinkSettings, read_sinks
from app.settings.state import state_directory
from app.settings.variables import (
    Variables,
    folder_item,
    header_item,
    module_item,
    queue_item,
    target_item,
)

Environment = Literal["development", "test", "staging", "production"]
ENVIRONMENTS: tuple[Environment, ...] = ("development", "test", "staging", "production")
SERVED: tuple[Environment, ...] = ("staging", "production")
"""Environments that serve people: nothing there is generated, embedded or debugged."""


class SettingsError(ValueError):
    """One or more environment variables are wrong; the message has one line for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that may differ between two installations."""

    environment: Environment
    database_url: str = field(repr=False)
    """The app role: API and workers. Like all four, a libpq URL: `postgresql://user:password@host:port/name`."""
    database_owner_url: str = field(repr=False)
    """The owner role: migrations only."""
    database_system_url: str = field(repr=False)
    """The system role: the named cross-tenant jobs."""
    database_direct_url: str = field(repr=False)
    """A connection past any pooler, for LISTEN or session locks; the owner's unless set."""
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    result_url: str = field(repr=False)
    jwt_private_key: bytes = field(repr=False)
    """The 32-byte Ed25519 seed that signs access tokens."""
    secrets_keys: tuple[bytes, ...] = field(repr=False)
    """The 32-byte key-encryption keys: the first wraps each tenant's key, the others open what is older."""
    state_dir: Path
    embedded: bool
    """Whether the servers are the platform's own."""
    debug: bool = False
    database_replica_url: str = field(default="", repr=False)
    """A streaming replica as the app role, for reads of the API, or empty."""
    replica_max_lag_s: int = 5
    """How old what the API reads there may be."""
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    api_trusted_proxies: int = 0
    """How many proxies stand before the API: so many X-Forwarded-For entries are believed."""
    hooks_rate_per_minute: int = 600
    """How many messages of one trigger, and of one sender's address, are taken in a minute."""
    api_rate_per_minute: int = 60_000
    """How many requests of one tenant are answered in a minute."""
    allowed_http_targets: tuple[str, ...] = ()
    """`host:port` pairs that http operations may reach although they are private."""
    data_roots: tuple[Path, ...] = ()
    """Folders that data operations may read."""
    extra_modules: tuple[str, ...] = ()
    """Modules as `package.file:attribute`, beside those that installed packages offer as entry points."""
    artifact_dir: Path = Path("artifacts")
    """Where artifacts are kept as files."""
    artifact_max_bytes: int = 64 * 1024 * 1024
    """What an output, or a single artifact, may measure."""
    azure_storage: str = field(default="", repr=False)
    """The connection string of the storage account that keeps artifacts instead, or empty."""
    artifact_container: str = "quantum-artifacts"
    worker_concurrency: int = 2
    worker_queues: tuple[str, ...] = ("default",)
    worker_stretches: bool = True
    """Whether a pool process goes on with the next step of a chain without a message."""
    redelivery_after_s: int = 3600
    """When Redis as the broker gives an unconfirmed message to another worker; RabbitMQ does at once."""
    step_kill_after_s: int = 10
    """Seconds between a step's soft time limit and the kill of its process."""
    admission_floor: int = 32
    """How many steps a queue may have, sent or running, however few workers listen on it."""
    admission_per_slot: int = 4
    """How many steps a queue may have for each live worker process."""
    metrics_dir: Path | None = None
    """Where all processes of this machine put their metrics, if they share any."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    """Where a process that serves nothing else serves its metrics; 0: nowhere."""
    metrics_tenants: int = 10
    """How many tenants have metrics of their own: those that use most."""
    log_level: str = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    feed_host: str = "127.0.0.1"
    feed_port: int = 8001
    feed_url: str = "http://127.0.0.1:8001"
    """Where clients reach the live feed: what the API sends them to."""
    feed_streams: int = 2000
    """Streams that one process of the feed serves."""
    feed_tenant_streams: int = 200
    """Those of one tenant among them."""
    sinks: SinkSettings = field(default_factory=SinkSettings)
    """Where events go."""
    backups: BackupSettings = field(default_factory=BackupSettings)
    """When backups are made."""
    trace_ratio: float = 0.0
    """Which part of the traces that begin here is recorded, from 0 to 1."""
    otlp_endpoint: str = ""
    """The base URL of an OpenTelemetry collector (OTLP over HTTP), or empty."""
    otlp_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    azure_monitor: str = field(default="", repr=False)
    """The connection string of an Application Insights resource, or empty."""
    flower_host: str = "127.0.0.1"
    flower_port: int = 5555
    flower_url: str = "http://127.0.0.1:5555"
    """Where people reach Flower: what steps link to."""
    flower_basic_auth: str = field(default="", repr=False)
    """`user:password`, or empty for a Flower that asks for a platform administrator's account."""


def inherited_environment() -> dict[str, str]:
    """Return a copy of this process's environment, for `load_settings` or for a child process."""
    return dict(os.environ)


def default_environment(values: Mapping[str, str]) -> None:
    """Set variables of this process that nobody has set: for a library that takes no other word."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read and check every variable; raises `SettingsError` with one line for each that is wrong.

    In development and test, key files that are missing are made in the state directory.
    """
    reader = Variables(environ)
    environment = reader.one_of("ENVIRONMENT", ENVIRONMENTS, "development")
    served = environment in SERVED
    embedded = wants_embedded(environ) or environ.get("QUANTUM_EMBEDDED") == "1"
    if embedded and served:
        reader.fault("DATABASE_URL", f"must be set when ENVIRONMENT={environment}: no embedded servers there")
    debug = reader.flag("QUANTUM_DEBUG")
    if debug and served:
        reader.fault("QUANTUM_DEBUG", f"must be off when ENVIRONMENT={environment}")
    settings = replace(_settings(reader, environment, embedded, debug), backups=read_backups(reader))
    if settings.flower_basic_auth and ":" not in settings.flower_basic_auth:
        reader.fault("FLOWER_BASIC_AUTH", "must be user:password")
    for name in ("FEED_URL", "FLOWER_URL") if served else ():
        if not environ.get(name):
            reader.fault(name, f"must be set when ENVIRONMENT={environment}: people are sent there")
    # Keys come last: none is made for a configuration that is refused.
    keys = settings.state_dir / "keys"
    signing = reader.key("JWT_PRIVATE_KEY_FILE", keys / "jwt.key", served)
    wrapping = reader.keys("SECRETS_KEY_FILE", keys / "secrets.key", served)
    if reader.faults:
        raise SettingsError(reader.faults)
    return replace(settings, jwt_private_key=signing, secrets_keys=wrapping)


def _settings(reader: Variables, environment: Environment, embedded: bool, debug: bool) -> Settings:
    """Return the settings as far as variables alone tell them: without the keys."""
    state_dir = state_directory(reader.environ)
    urls = read_server_urls(reader, environment in SERVED, state_dir)
    return Settings(
        environment=environment,
        database_url=urls["DATABASE_URL"],
        database_owner_url=urls["DATABASE_OWNER_URL"],
        database_system_url=urls["DATABASE_SYSTEM_URL"],
        database_direct_url=urls["DATABASE_DIRECT_URL"],
        redis_url=urls["REDIS_URL"],
        broker_url=urls["BROKER_URL"],
        result_url=urls["RESULT_URL"],
        jwt_private_key=b"",
        secrets_keys=(),
        state_dir=state_dir,
        embedded=embedded,
        debug=debug,
        api_host=reader.text("API_HOST", "127.0.0.1"),
        api_port=reader.number("API_PORT", 8000, 1, 65535),
        api_trusted_proxies=reader.number("API_TRUSTED_PROXIES", 0, 0, 10),
        hooks_rate_per_minute=reader.number("HOOKS_RATE_PER_MINUTE", 600, 1, 1_000_000),
        api_rate_per_minute=reader.number("API_RATE_PER_MINUTE", 60_000, 1, 100_000_000),
        allowed_http_targets=reader.items("QUANTUM_ALLOWED_HTTP_TARGETS", (), target_item),
        data_roots=reader.items("QUANTUM_DATA_ROOTS", (), folder_item),
        extra_modules=reader.items("QUANTUM_MODULES", (), module_item),
        artifact_dir=Path(reader.text("ARTIFACT_DIR", str(state_dir / "artifacts"))).resolve(),
        artifact_max_bytes=reader.number("ARTIFACT_MAX_BYTES", 64 * 1024 * 1024, 1024 * 1024, 1024**3),
        azure_storage=reader.text("AZURE_STORAGE_CONNECTION_STRING", ""),
        artifact_container=reader.text("ARTIFACT_CONTAINER", "quantum-artifacts"),
        worker_concurrency=reader.number("WORKER_CONCURRENCY", 2, 1, 512),
        worker_queues=reader.items("WORKER_QUEUES", ("default",), queue_item),
        worker_stretches=reader.flag("WORKER_STRETCHES", "1"),
        redelivery_after_s=reader.number("REDELIVERY_AFTER_S", 3600, 1, 7 * 86_400),
        step_kill_after_s=reader.number("STEP_KILL_AFTER_S", 10, 1, 3600),
        admission_floor=reader.number("ADMISSION_FLOOR", 32, 1, 100_000),
        admission_per_slot=reader.number("ADMISSION_PER_SLOT", 4, 1, 10_000),
        **_eyes(reader),
        log_level=reader.one_of("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
        log_format=cast(
            Literal["auto", "json", "console"],
            reader.one_of("LOG_FORMAT", ("auto", "json", "console"), "auto"),
        ),
        sinks=read_sinks(reader, urls["BROKER_URL"]),
        **_doors(reader, urls),
        trace_ratio=reader.fraction("TRACE_RATIO", 0.01 if environment in SERVED else 1.0),
        otlp_endpoint=reader.endpoint("OTEL_EXPORTER_OTLP_ENDPOINT"),
        otlp_headers=reader.items("OTEL_EXPORTER_OTLP_HEADERS", (), header_item),
        azure_monitor=reader.text("APPLICATIONINSIGHTS_CONNECTION_STRING", ""),
    )


def _eyes(reader: Variables) -> dict[str, Any]:
    """Return where metrics are, how many tenants they name."""
    folder = reader.text("PROMETHEUS_MULTIPROC_DIR", "")
    return {
        "metrics_dir": Path(folder) if folder else None,
        "metrics_host": reader.text("METRICS_HOST", "127.0.0.1"),
        "metrics_port": reader.number("METRICS_PORT", 0, 0, 65535),
        "metrics_tenants": reader.number("METRICS_TENANTS", 10, 0, 100),
    }


def _doors(reader: Variables, urls: Mapping[str, str]) -> dict[str, Any]:
    """Return where the live feed and Flower listen, where they are reached, who may enter; the replica."""
    feed_host, feed_port = reader.text("FEED_HOST", "127.0.0.1"), reader.number("FEED_PORT", 8001, 1, 65535)
    flower_host = reader.text("FLOWER_HOST", "127.0.0.1")
    flower_port = reader.number("FLOWER_PORT", 5555, 1, 65535)
    return {
        "database_replica_url": urls.get("DATABASE_REPLICA_URL", ""),
        "replica_max_lag_s": reader.number("REPLICA_MAX_LAG_S", 5, 1, 300),
        "feed_host": feed_host,
        "feed_port": feed_port,
        "feed_streams": reader.number("FEED_STREAMS", 2000, 1, 100_000),
        "feed_tenant_streams": reader.number("FEED_TENANT_STREAMS", 200, 1, 100_000),
        "feed_url": reader.web_url("FEED_URL", f"http://{feed_host}:{feed_port}"),
        "flower_host": flower_host,
        "flower_port": flower_port,
        "flower_url": reader.web_url("FLOWER_URL", f"http://{flower_host}:{flower_port}"),
        "flower_basic_auth": reader.text("FLOWER_BASIC_AUTH", ""),
    }
