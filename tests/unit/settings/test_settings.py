"""The settings: defaults, faults that name their variable, what production refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from app.settings import SettingsError, load_settings

URLS = {
    "DATABASE_URL": "postgresql://quantum_app:a@db.example:5432/quantum",
    "DATABASE_OWNER_URL": "postgres://quantum_owner:b@db.example/quantum",
    "DATABASE_SYSTEM_URL": "postgresql+psycopg2://quantum_system:c@db.example/quantum",
    "REDIS_URL": "redis://:secret@redis.example:6379/0",
}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**URLS, "QUANTUM_STATE_DIR": str(tmp_path)}


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load_settings(environ)
    return raised.value.faults


def test_defaults_follow_the_four_urls(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    assert settings.environment == "development"
    assert settings.trace_ratio == 1.0
    assert settings.broker_url == settings.result_url == settings.redis_url == URLS["REDIS_URL"]
    assert settings.database_direct_url == settings.database_owner_url
    assert settings.database_owner_url.startswith("postgresql://")
    assert settings.database_system_url.startswith("postgresql://"), "libpq takes no driver in a URL"
    assert not settings.embedded


def test_settings_are_frozen_and_show_no_secret(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.api_port = 1  # type: ignore[misc]  # the point of the test
    assert "secret" not in repr(settings).lower()
    assert "quantum_app" not in repr(settings)


def test_generated_keys_stay_the_same_and_are_private(environ: dict[str, str], tmp_path: Path) -> None:
    first, second = load_settings(environ), load_settings(environ)
    assert first.jwt_private_key == second.jwt_private_key != first.secrets_keys[0]
    assert len(first.jwt_private_key) == len(first.secrets_keys[0]) == 32
    assert (tmp_path / "keys" / "jwt.key").stat().st_mode & 0o777 == 0o600


HUB = "Endpoint=sb://hub.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=hidden"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ENVIRONMENT", "prod", "one of development, test, staging, production"),
        ("API_PORT", "70000", "whole number from 1 to 65535"),
        ("API_PORT", "http", "whole number"),
        ("WORKER_CONCURRENCY", "0", "from 1 to 512"),
        ("DATABASE_URL", "mysql://u:hidden@h/d", "postgresql://"),
        ("REDIS_URL", "redis://:hidden@host:port", "redis://"),
        ("REDIS_URL", "", "must be set"),
        ("QUANTUM_ALLOWED_HTTP_TARGETS", "example.org", "host:port"),
        ("QUANTUM_DATA_ROOTS", "here", "absolute"),
        ("QUANTUM_MODULES", "package.module", "package.file:attribute"),
        ("JWT_PRIVATE_KEY_FILE", "/nowhere/key", "cannot be read"),
        ("FLOWER_BASIC_AUTH", "nocolon", "user:password"),
        ("EVENT_SINKS", "redis,kafka", "'kafka' is none"),
        ("EVENT_SINKS", "redis,redis", "twice"),
        ("EVENT_AMQP_URL", "redis://:hidden@h", "amqp://"),
        ("EVENT_MAX_BYTES", "12", "from 1024"),
        ("EVENT_HUB_CONNECTION_STRING", f"{HUB};UseDevelopmentEmulator=true", "not loopback"),
        ("EVENT_HUB_CONNECTION_STRING", f"{HUB} ; usedevelopmentemulator = True", "not loopback"),
    ],
)
def test_a_wrong_value_is_one_line_naming_the_variable(
    environ: dict[str, str], variable: str, value: str, says: str
) -> None:
    (line,) = faults({**environ, variable: value})
    assert line.startswith(f"{variable} ")
    assert says in line
    assert "\n" not in line
    assert "hidden" not in line, "a URL holds a password"


def test_rabbitmq_as_a_sink_needs_a_url_unless_it_is_the_broker(environ: dict[str, str]) -> None:
    wanted = {**environ, "EVENT_SINKS": "redis, rabbitmq"}
    (line,) = faults(wanted)
    assert line.startswith("EVENT_AMQP_URL ")
    sinks = load_settings({**wanted, "BROKER_URL": "amqp://guest:hidden@rabbit//"}).sinks
    assert (sinks.names, sinks.amqp_url) == (("redis", "rabbitmq"), "amqp://guest:hidden@rabbit//")
    assert "hidden" not in repr(sinks)


def test_an_event_hub_is_named_by_its_connection_string(environ: dict[str, str]) -> None:
    wanted = {**environ, "EVENT_SINKS": "eventhubs"}
    (line,) = faults(wanted)
    assert line.startswith("EVENT_HUB_CONNECTION_STRING ")
    assert load_settings({**wanted, "EVENT_HUB_CONNECTION_STRING": HUB}).sinks.hub_name == "quantum-events"
    sinks = load_settings({**wanted, "EVENT_HUB_CONNECTION_STRING": f"{HUB};EntityPath=mine"}).sinks
    assert sinks.hub_name == "mine"
    assert "hidden" not in repr(sinks)


@pytest.mark.parametrize("host", ["localhost:5672", "127.0.0.1", "[::1]:1"])
def test_the_emulator_may_be_used_on_loopback(environ: dict[str, str], host: str) -> None:
    given = f"Endpoint=sb://{host};SharedAccessKey=hidden;UseDevelopmentEmulator=true"
    assert load_settings({**environ, "EVENT_HUB_CONNECTION_STRING": given}).sinks.hub == given


def test_backups_go_to_a_container_of_an_account_that_is_named(environ: dict[str, str]) -> None:
    wanted = {**environ, "BACKUP_CONTAINER": "backups"}
    (line,) = faults(wanted)
    assert line.startswith("BACKUP_STORAGE_CONNECTION_STRING must be set")
    assert not load_settings(environ).backups.scheduled
    settings = load_settings({**wanted, "AZURE_STORAGE_CONNECTION_STRING": "secret"})
    assert (settings.backups.storage, settings.backups.scheduled) == ("secret", True)
    assert "secret" not in repr(settings)
    other = load_settings({**wanted, "BACKUP_STORAGE_CONNECTION_STRING": "other"})
    assert other.backups.storage == "other"


def test_every_wrong_variable_is_told_at_once(environ: dict[str, str]) -> None:
    told = faults({**environ, "API_PORT": "x", "LOG_LEVEL": "LOUD"})
    assert [line.split()[0] for line in told] == ["API_PORT", "LOG_LEVEL"]


def test_one_role_for_two_purposes_is_refused(environ: dict[str, str]) -> None:
    (line,) = faults({**environ, "DATABASE_URL": URLS["DATABASE_OWNER_URL"]})
    assert line.startswith("DATABASE_URL must name another role")


def test_a_replica_is_read_as_the_app_role(environ: dict[str, str]) -> None:
    assert load_settings(environ).database_replica_url == ""
    named = environ | {"DATABASE_REPLICA_URL": "postgres://quantum_app:a@replica.example/quantum"}
    settings = load_settings(named | {"REPLICA_MAX_LAG_S": "2"})
    assert settings.database_replica_url == "postgresql://quantum_app:a@replica.example/quantum"
    assert settings.replica_max_lag_s == 2
    assert "replica.example" not in repr(settings)
    for url, says in (
        ("postgresql://quantum_system:c@r/d", "role of DATABASE_URL"),
        ("http://r/d", "postgresql://"),
    ):
        (fault,) = faults(environ | {"DATABASE_REPLICA_URL": url})
        assert fault.startswith("DATABASE_REPLICA_URL")
        assert says in fault
    (fault,) = faults(named | {"REPLICA_MAX_LAG_S": "0"})
    assert fault.startswith("REPLICA_MAX_LAG_S must be a whole number from 1 to 300")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_serves_people_refuses_generated_keys_debug_and_embedded_servers(
    environment: str, tmp_path: Path
) -> None:
    told = faults({"ENVIRONMENT": environment, "QUANTUM_DEBUG": "1", "QUANTUM_STATE_DIR": str(tmp_path)})
    assert {line.split()[0] for line in told} == {
        "DATABASE_URL",
        "QUANTUM_DEBUG",
        "FEED_URL",
        "FLOWER_URL",
        "JWT_PRIVATE_KEY_FILE",
        "SECRETS_KEY_FILE",
    }
    assert list(tmp_path.iterdir()) == [], "a refused configuration makes no keys"


def test_production_takes_named_keys(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"r" * 32)
    (tmp_path / "hex").write_text("ab" * 32 + "\n")
    settings = load_settings(
        {
            **environ,
            "ENVIRONMENT": "production",
            "FEED_URL": "https://feed.example.org",
            "FLOWER_URL": "https://flower.example.org",
            "JWT_PRIVATE_KEY_FILE": str(tmp_path / "raw"),
            "SECRETS_KEY_FILE": str(tmp_path / "hex"),
        }
    )
    assert settings.jwt_private_key == b"r" * 32
    assert settings.trace_ratio == 0.01, "one trace in a hundred, unless somebody asks for more"
    assert settings.secrets_keys == (bytes.fromhex("ab" * 32),)


def test_a_key_file_may_hold_older_keys_behind_the_newest(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    named = {**environ, "SECRETS_KEY_FILE": str(path)}
    path.write_text("ab" * 32 + "\n\n" + "cd" * 32 + "\n")
    assert [key[:1].hex() for key in load_settings(named).secrets_keys] == ["ab", "cd"]
    for content in ("", "ab" * 32 + "\n" + "ab" * 32, "ab" * 32 + "\n" + "cd" * 31, "no hex"):
        path.write_text(content)
        (line,) = faults(named)
        assert line.startswith("SECRETS_KEY_FILE ")
        assert "abab" not in line
    path.write_text("ab" * 32 + "\n" + "cd" * 32)
    (line,) = faults({**environ, "JWT_PRIVATE_KEY_FILE": str(path)})
    assert line == "JWT_PRIVATE_KEY_FILE must name a file of one key"


def test_without_urls_the_running_embedded_servers_are_used(tmp_path: Path) -> None:
    bare = {"QUANTUM_STATE_DIR": str(tmp_path)}
    (line,) = faults(bare)
    assert line.startswith("DATABASE_URL ")
    assert "quantum up" in line
    (tmp_path / "servers.json").write_text(json.dumps({"urls": URLS, "pid": 1}))
    settings = load_settings(bare)
    assert settings.embedded
    assert settings.redis_url == URLS["REDIS_URL"]
