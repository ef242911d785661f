"""The syntax of addresses, paths, maps and answers in HAProxy's files and commands. Pure."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from jobs.errors import ConfigurationError, Mistake, RouterError
from jobs.rules.domain_names import HIGHEST_PORT

# An address where nothing listens, for a server that has none: without one, HAProxy would connect
# to the address that the client connected to, which is itself.
NOWHERE = ("127.0.0.1", 1)

# How long a backend waits for a container; a client that leaves ends its request.
TO_CONTAINERS = """\
    timeout connect 5s
    timeout server 15m
    timeout tunnel 1h
    timeout server-fin 30s
    option abortonclose
"""


def split_address(address: str) -> tuple[str, int]:
    """Split "10.201.0.2:8000" or "[fd00::2]:8000" into parts that are safe in a command.

    Raises:
        RouterError: it is not an IP address and a port.
    """
    host, _, port = address.rpartition(":")
    ip = _ip(host.removeprefix("[").removesuffix("]"))
    if ip is None:
        raise RouterError(f"{address!r} is not an address the router can dial")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= HIGHEST_PORT:
        raise RouterError(f"{address!r} has no port the router can dial")
    return ip, int(port)


def bind_address(bind: str, *, setting: str) -> str:
    """Give the address to listen on in its canonical form.

    Raises:
        ConfigurationError: the setting is not an IP address.
    """
    host = _ip(bind)
    if host is None:
        raise ConfigurationError(Mistake(setting, f"{bind!r} is not an IP address"))
    return host


def _ip(host: str) -> str | None:
    """Give an IP address in its canonical form; None when it is not an IP address."""
    # The text after a "%" is the name of an interface, and may be any text.
    if "%" in host:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def socket_address(path: Path) -> str:
    """Quote the path of the runtime API's socket so that HAProxy takes every character literally.

    In an address HAProxy interprets `$NAME` and commas even inside quotes; they cannot be escaped.

    Raises:
        ConfigurationError: the path contains a dollar sign, a comma or a control character.
    """
    if not str(path).isprintable() or set("$,") & set(str(path)):
        told = (
            f"the router's socket cannot be at {path}; "
            "use a path without dollar signs, commas and control characters"
        )
        raise ConfigurationError(Mistake("KEYSTONE_DATA_DIR", told))
    return quoted(f"unix@{path}")


def quoted(text: object) -> str:
    """Quote a word so that HAProxy takes every character literally."""
    return "'" + str(text).replace("'", "'\\''") + "'"


def refuse(status: int, sentence: str, condition: str, *, retry_after_s: int = 0) -> str:
    """Give the rule that answers a request with one sentence when the condition holds."""
    retry = f"hdr Retry-After {retry_after_s} " if retry_after_s else ""
    return (
        f"    http-request return status {status} content-type text/plain {retry}"
        f'hdr Cache-Control no-store string "{sentence}\\n" {condition}\n'
    )


def lines(entries: Mapping[str, str]) -> str:
    """Give the text of a map or list."""
    return "".join(f"{name} {value}\n" for name, value in entries.items())


def error_page(status: int, text: str, headers: str = "") -> str:
    """Give the line of a section that sets what HAProxy itself answers with a status.

    Args:
        headers: more headers, as `hdr NAME VALUE ` each.
    """
    return (
        f"    http-error status {status} content-type text/plain {headers}"
        f'hdr Cache-Control no-store string "{text}\\n"'
    )
