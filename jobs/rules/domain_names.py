"""What may be an app's domain, which names cover which, and what is a web address. Pure.

A name is kept the way it travels: in lower case, other alphabets as IDNA writes them in ASCII. It
ends up in the router's maps and commands, so nothing else is let through.
"""

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import idna

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out credentials: most of them, and AWS to containers and pods, at link-local
# addresses; Alibaba, Azure, Oracle, AWS and Google by version 6 elsewhere.
METADATA_ADDRESSES: tuple[Address, ...] = tuple(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ),
    )
)
METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
    }
)
# The last four bytes of these are an address of version 4: NAT64, and the form of old.
WITH_VERSION_4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))

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


def plain_http_url(value: str) -> str:
    """Give the address of a web server without a slash at its end.

    Raises:
        ValueError: it is none, or holds more than may be shown to everybody.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises when there is none like that
    except ValueError:
        raise ValueError("is not a URL like https://keystone.example.com") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password, since it is shown")
    if "?" in value or "#" in value:
        raise ValueError("must not hold a query or a fragment (? or #)")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("holds characters that no URL has")
    return value.rstrip("/")


def is_metadata(host: str) -> bool:
    """Whether a host is where clouds hand out the credentials of their machines.

    Addresses of the machine's own network segment count, as no git server has one. A name is not
    looked up: of names, only those that clouds themselves use are known.
    """
    plain = _as_libraries_read(host).strip("[]").partition("%")[0].rstrip(".")
    if plain.lower() in METADATA_NAMES:
        return True
    with suppress(OSError, ValueError):
        # As the resolver reads numbers: 2852039166 and 0xa9fea9fe are 169.254.169.254, too.
        plain = socket.inet_ntoa(socket.inet_aton(plain))
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return False
    return any(
        found.is_link_local or found in METADATA_ADDRESSES for found in (address, *_inside(address))
    )


def _as_libraries_read(host: str) -> str:
    """Give a host the way libcurl takes it: decoded, its digits and dots those of ASCII."""
    plain = unicodedata.normalize("NFKC", unquote(host))
    return plain.replace("\N{IDEOGRAPHIC FULL STOP}", ".")


def _inside(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """Give the addresses of version 4 that one of version 6 leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    found = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
    yield from filter(None, found)
    if any(address in network for network in WITH_VERSION_4):
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


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
