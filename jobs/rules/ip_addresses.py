"""IP addresses to listen on, and those that lead to a listener on this machine. Pure."""

import ipaddress

_LOOPBACK, _LOOPBACK_6 = "127.0.0.1", "::1"


def is_ip(host: str) -> bool:
    """Whether a host is an IP address, so that no name has to be resolved."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_everywhere(host: str) -> bool:
    """Whether a program that listens on this address listens on all addresses of the machine."""
    return host in {"", "*"} or (is_ip(host) and ipaddress.ip_address(host).is_unspecified)


def reachable(host: str) -> str:
    """Give the address at which this machine reaches a program that listens on `host`."""
    if not is_everywhere(host):
        return host
    return _LOOPBACK_6 if ":" in host else _LOOPBACK


def join_address(host: str, port: int) -> str:
    """Put an IP address or a name and a port together."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
