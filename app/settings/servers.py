"""The part of the configuration that says where the servers are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app.settings.variables import Variables

SERVER_URLS = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SYSTEM_URL", "REDIS_URL")
"""With none of these set the platform runs its own servers."""

SERVERS_FILE = "servers.json"
"""Written in the state directory by the running embedded servers: the URLs as they stand now."""

_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg2")
_REDIS = ("redis", "rediss")
_SCHEMES = {
    **dict.fromkeys((*SERVER_URLS[:3], "DATABASE_DIRECT_URL"), _POSTGRES),
    **dict.fromkeys(("REDIS_URL", "RESULT_URL"), _REDIS),
    "BROKER_URL": (*_REDIS, "amqp", "amqps"),
}
_FOLLOWING = {
    "DATABASE_DIRECT_URL": "DATABASE_OWNER_URL",
    "BROKER_URL": "REDIS_URL",
    "RESULT_URL": "REDIS_URL",
}
"""URLs that are another one's unless set."""


def wants_embedded(environ: Mapping[str, str]) -> bool:
    """Tell whether the platform is to run its own servers: no server URL is set."""
    return not any(environ.get(name) for name in SERVER_URLS)


def read_server_urls(reader: Variables, served: bool, state_dir: Path) -> dict[str, str]:
    """Return the URLs, each checked: from the environment, or from the running embedded servers."""
    given: Mapping[str, str] = reader.environ
    if wants_embedded(given):
        given = {**given, **_running_servers(state_dir)}
        if served or not given.get("DATABASE_URL"):
            if not served:  # else the fault is told already
                reader.fault("DATABASE_URL", "is not set, no embedded server runs: start it by `quantum up`")
            return dict.fromkeys(_SCHEMES, "")
    urls = {name: reader.url(name, given.get(name, ""), _SCHEMES[name]) for name in SERVER_URLS}
    for name, default in _FOLLOWING.items():
        url = given.get(name)
        urls[name] = reader.url(name, url, _SCHEMES[name]) if url else urls[default]
    if named := given.get("DATABASE_REPLICA_URL"):
        urls["DATABASE_REPLICA_URL"] = reader.url("DATABASE_REPLICA_URL", named, _POSTGRES)
    for name, url in urls.items():
        if url and name.startswith("DATABASE"):
            urls[name] = "postgresql" + url[url.index("://") :]
    users = [urlsplit(urls[name]).username for name in SERVER_URLS[:3] if urls[name]]
    if len(set(users)) < len(users):
        reader.fault(
            "DATABASE_URL", "must name another role than the owner's or the system's URL, all three distinct"
        )
    replica = urls.get("DATABASE_REPLICA_URL")
    if replica and urls["DATABASE_URL"] and urlsplit(replica).username != users[0]:
        reader.fault(
            "DATABASE_REPLICA_URL", "must name the role of DATABASE_URL: the policies are made for it"
        )
    return urls


def _running_servers(state_dir: Path) -> dict[str, str]:
    """Return the URLs that the embedded servers of `state_dir` wrote when they started, or nothing."""
    try:
        written = json.loads((state_dir / SERVERS_FILE).read_text())
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return {}
    return {str(name): str(url) for name, url in written["urls"].items()}
