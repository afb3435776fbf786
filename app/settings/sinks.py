"""The part of the configuration that says where events go."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.settings.variables import Variables

SINKS = ("redis", "rabbitmq", "eventhubs")


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """Which sinks the relay delivers to, and how it finds them."""

    names: tuple[str, ...] = ("redis",)
    event_bytes: int = 256 * 1024
    """What the envelope of one event may measure; a larger one leaves a gap marker."""
    amqp_url: str = field(default="", repr=False)
    """RabbitMQ with the topic exchange; the broker's unless set."""
    exchange: str = "quantum.events"
    hub: str = field(default="", repr=False)
    """The connection string of the Event Hubs namespace, or of the hub itself."""
    hub_name: str = "quantum-events"
    """Which hub, unless the connection string names one as EntityPath."""
    wakeups: bool = True
    """Whether new events wake who waits for them, so that polling is only the safety net."""


def read_sinks(reader: Variables, broker_url: str) -> SinkSettings:
    """Read the variables; tells the reader what is wrong with them."""
    names = reader.items("EVENT_SINKS", ("redis",), _sink)
    amqp_url = broker_url if broker_url.startswith("amqp") else ""
    if reader.text("EVENT_AMQP_URL", ""):
        amqp_url = reader.url("EVENT_AMQP_URL", reader.text("EVENT_AMQP_URL", ""), ("amqp", "amqps"))
    if "rabbitmq" in names and not amqp_url:
        reader.fault("EVENT_AMQP_URL", "must be set for the sink rabbitmq, unless BROKER_URL is RabbitMQ")
    if len(set(names)) < len(names):
        reader.fault("EVENT_SINKS", "names a sink twice")
    hub = reader.text("EVENT_HUB_CONNECTION_STRING", "")
    parts = _hub_parts(hub)
    if "eventhubs" in names and not parts.get("endpoint", "").startswith("sb://"):
        reader.fault("EVENT_HUB_CONNECTION_STRING", "must be Endpoint=sb://…;SharedAccessKeyName=…;…")
    elif "usedevelopmentemulator" in parts and not _loopback(parts.get("endpoint", "")):
        words = "must not have UseDevelopmentEmulator for a host that is not loopback: it turns TLS off"
        reader.fault("EVENT_HUB_CONNECTION_STRING", words)
    return SinkSettings(
        names=names,
        event_bytes=reader.number("EVENT_MAX_BYTES", 256 * 1024, 1024, 900 * 1024),
        amqp_url=amqp_url,
        exchange=reader.text("EVENT_EXCHANGE", "quantum.events"),
        hub=hub,
        wakeups=reader.flag("EVENT_WAKEUPS", "1"),
        hub_name=parts.get("entitypath") or reader.text("EVENT_HUB_NAME", "quantum-events"),
    )


def _hub_parts(connection_string: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in connection_string.split(";") if part.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sink(name: str) -> str:
    if name not in SINKS:
        raise ValueError(f"must be some of {', '.join(SINKS)}; {name!r} is none")
    return name
