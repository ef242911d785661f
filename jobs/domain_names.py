"""What may be an app's domain, and which names cover which. Pure.

A name is kept the way it travels: in lower case, other alphabets as IDNA writes them in ASCII. It
ends up in the router's maps and commands, so nothing else is let through.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import urlsplit

import idna

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONGEST_NAME = 253
WILDCARD = "*."


def plain_domain(value: str) -> str:
    """Give a domain as it is kept: `Bücher.example` as `xn--bcher-kva.example`.

    `*.example.com` stands for every name with one label more than `example.com`.

    Raises:
        ValueError: it is no domain; the message says what to write instead.
    """
    if re.search(r"[/:@?#\\]", value):
        raise ValueError("give the host name alone, like app.example.com, without scheme or port")
    is_wildcard = value.startswith(WILDCARD)
    name = _ascii(value.removeprefix(WILDCARD).removesuffix("."))
    labels = name.split(".")
    if len(name) > LONGEST_NAME - len(WILDCARD) or not all(map(LABEL.fullmatch, labels)):
        raise ValueError("is not a host name like app.example.com")
    if labels[-1].isdecimal():
        raise ValueError("is an address; a domain is a name like app.example.com")
    if len(labels) == 1:
        raise ValueError("needs a dot, as in app.example.com or app.localhost")
    return f"{WILDCARD}{name}" if is_wildcard else name


def is_link_local(host: str) -> bool:
    """Whether a host is an address of the machine's own network segment only.

    No git server has one; clouds answer there with the credentials of their machines. A name is
    not looked up.
    """
    plain = host.strip("[]").partition("%")[0].removesuffix(".")
    with suppress(OSError, UnicodeError):
        # As the resolver reads numbers: 2852039166 and 0xa9fea9fe are 169.254.169.254, too.
        plain = socket.inet_ntoa(socket.inet_aton(plain))
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local


def named_host(url: str) -> str:
    """Give the host name in a URL; empty when it has an address, localhost or nothing there."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return ""
    with suppress(ValueError):
        host = plain_domain(host)
    return "" if host == "localhost" else host


def is_plain(value: str) -> bool:
    """Whether something is a domain exactly as it is kept."""
    try:
        return plain_domain(value) == value
    except ValueError:
        return False


def wildcard_of(domain: str) -> str:
    """Give the wildcard that covers a domain: `*.example.com` for `app.example.com`."""
    return WILDCARD + domain.partition(".")[2]


def is_covered(domain: str, names: Collection[str]) -> bool:
    """Whether one of the names, some of them wildcards perhaps, stands for the domain."""
    return domain in names or wildcard_of(domain) in names


def _ascii(name: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise ValueError("holds characters that no domain may have") from None
