"""What counts as one source of requests."""

from __future__ import annotations

import ipaddress
from typing import Final

_NETWORK_OF_IPV6: Final = 64


def source_of(address: str | None) -> str:
    """Return what limits count by: an address, of IPv6 the network that one host may have for itself."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), _NETWORK_OF_IPV6), strict=False))
