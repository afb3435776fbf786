"""The guard that decides which network address an outgoing request may reach."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from string import punctuation
from urllib.parse import SplitResult, quote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 8192
UNSAFE_CHARACTER = re.compile(r"[\x00-\x20\x7f\\]")
# Addresses that carry an IPv4 address inside: what they reach depends on a gateway, so none is let through.
EMBEDDING = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class TargetRefused(ValueError):
    """The URL is malformed or leads to a place that outgoing requests may not reach."""


class NameNotResolved(OSError):
    """The name service has no address for the host now."""


@dataclass(frozen=True, slots=True)
class Target:
    """One checked hop: connect to `address`, say `host` in the Host header and to TLS."""

    scheme: str
    host: str
    port: int
    address: str
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two URLs must share for headers and bodies to pass between them."""
        return (self.scheme, self.host, self.port)

    @property
    def host_header(self) -> str:
        """The Host header: brackets for IPv6, the port only when it is not the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"


def system_resolver(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses that the system's name service gives; raises OSError when there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def check_target(url: str, allowed: Collection[str], resolve: Resolver = system_resolver) -> Target:
    """Resolve the URL's host once; return the target pinned to the address that was judged.

    `allowed` holds the operator's `host:port` exceptions, compared with the host as written. Any other host
    is refused when a single one of its addresses is not on the public internet, so that a name with a public
    and a private address gains nothing. Raises TargetRefused, NameNotResolved.
    """
    parts = _split(url)
    host, port = _host_and_port(parts)
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=punctuation)
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise NameNotResolved(f"no address found for host {host!r}") from error
    if not addresses:
        raise NameNotResolved(f"no address found for host {host!r}")
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if name not in {entry.lower() for entry in allowed}:
        for address in addresses:
            if reason := why_refused(address):
                raise TargetRefused(f"host {host!r} is refused: {reason}; the operator may allow {name}")
    return Target(parts.scheme, host, port, addresses[0], path)


def why_refused(address: str) -> str | None:
    """Say why the address is not on the public internet, or return None when it is."""
    try:
        ip: Address = ipaddress.ip_address(address)
    except ValueError:
        return "its address is not an IP address"
    if isinstance(ip, ipaddress.IPv6Address) and ip != ipaddress.IPv6Address("::1"):
        if ip.scope_id is not None or ip.is_site_local:
            return "it has a link-local or site-local address"
        if any(ip in network for network in EMBEDDING):
            return "its address embeds an IPv4 address"
    kinds = (
        (ip.is_loopback, "loopback"),
        (ip.is_link_local, "link-local"),
        (ip.is_multicast, "multicast"),
        (ip.is_unspecified, "unspecified"),
        (ip.is_reserved, "reserved"),
        (not ip.is_global, "private"),
    )
    kind = next((name for matches, name in kinds if matches), None)
    return f"it has a {kind} address" if kind else None


def _split(url: str) -> SplitResult:
    if len(url) > LONGEST_URL:
        raise TargetRefused(f"the URL is longer than {LONGEST_URL} characters")
    if UNSAFE_CHARACTER.search(url):
        raise TargetRefused("the URL holds a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TargetRefused("the URL is malformed") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise TargetRefused(f"scheme {parts.scheme!r} is refused: only http and https are spoken")
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("user and password in a URL are refused: use a header with a secret")
    return parts


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        port = parts.port
    except ValueError as error:
        raise TargetRefused("the port of the URL is not a number in 1..65535") from error
    host = (parts.hostname or "").rstrip(".")
    if not host or "%" in host or port == 0:
        raise TargetRefused("the URL names no host, a host with a zone or port 0")
    if ":" not in host and not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise TargetRefused("the host of the URL is not a legal international name") from error
    return host, port or DEFAULT_PORTS[parts.scheme]
