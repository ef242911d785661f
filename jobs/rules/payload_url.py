"""Whether GitHub can reach the URL to which it must send deliveries. Pure: no name is resolved."""

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit

# Top-level names that public DNS does not have; without `.example`, which documentation uses.
# Source: RFC 6761, RFC 6762, RFC 8375, RFC 9476, and ICANN's resolution on .internal (2024-07-29).
PRIVATE_NAMES = (
    *(".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".home.arpa", ".corp"),
    *(".private", ".test", ".invalid", ".alt", ".onion"),
)
FIX = (
    "set KEYSTONE_PUBLIC_URL to an https:// URL that is reachable from the internet, and restart "
    "Keystone"
)


def payload_url_problem(url: str, api_url: str) -> str:
    """Say why deliveries will not arrive at a URL, or not safely; "" if nothing is wrong.

    Args:
        url: the webhook's URL.
        api_url: the API of the GitHub that calls it. One on a private network reaches that network.
    """
    if _private(api_url):
        return ""
    if why := _private(url):
        return f"GitHub cannot reach {url}: {why}; {FIX}"
    if url.startswith("http://"):
        return f"GitHub sends pushes to {url} without encryption, so others can read them; {FIX}"
    return ""


def _private(url: str) -> str:
    """Say why a URL's host is not reachable from the internet; "" if it may be."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if (address := _address(host)) is not None:
        return _private_address(address)
    if host == "localhost" or host.endswith(".localhost"):
        return "that is each machine's own name for itself"
    if "." not in host:
        return f"{host} has no dot, so only your network knows that name"
    if host.endswith(PRIVATE_NAMES):
        return f"only a private network knows names in .{host.rpartition('.')[2]}"
    return ""


def _private_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.is_loopback:
        return "that is each machine's own address for itself"
    if address.is_unspecified:
        return "no machine has that address"
    return "" if address.is_global else "that address exists only in a private network"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    plain = host.partition("%")[0]
    with suppress(OSError, ValueError):
        # As libraries read numbers: 2130706433 and 0x7f.1 are 127.0.0.1 too.
        plain = socket.inet_ntoa(socket.inet_aton(plain))
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
