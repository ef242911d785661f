"""Derives Keystone's own address in the router from the settings."""

import logging
import socket

from pydantic import SecretStr

from jobs.adapters.haproxy.own_address import OwnAddress
from jobs.rules.domain_names import host_header
from jobs.rules.ip_addresses import is_ip, join_address, reachable
from jobs.settings import Settings

logger = logging.getLogger(__name__)


def own_address(settings: Settings, key: SecretStr) -> OwnAddress | None:
    """Give the address; None if `KEYSTONE_PUBLIC_URL` is not set."""
    host = host_header(settings.public_url)
    web = web_address(settings) if host else ""
    if not web:
        return None
    is_https = settings.public_url.startswith("https://")
    return OwnAddress(host, web, key, is_https=is_https)


def web_address(settings: Settings) -> str:
    """Give the IP address and port at which this machine reaches the web process.

    Returns:
        "" when the name in KEYSTONE_HOST has no address, which is logged.
    """
    host = reachable(settings.host)
    return join_address(host, settings.port) if is_ip(host) else _resolved(settings)


def _resolved(settings: Settings) -> str:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        logger.warning(
            "the router does not serve Keystone's own address: %s has no address (%s)",
            settings.host,
            exc.strerror,
            extra={"action": "own_address_left_out"},
        )
        return ""
    # The web process listens on all of them, and IPv4 allows a source address of the router's own.
    hosts = sorted((str(address[0]) for *_, address in found), key=lambda host: ":" in host)
    return join_address(hosts[0], settings.port)
