"""Validates domains and web addresses, and matches domains with wildcards. Pure.

A name is stored as it is sent over the network: in lower case, with other alphabets in IDNA's ASCII
form. It ends up in the router's maps and commands, so every other form is refused.
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

# The metadata services of clouds, which hand out credentials. Most clouds, and AWS for containers
# and pods, use link-local addresses. Alibaba, Azure, Oracle, and over IPv6 AWS and Google, use
# others.
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
# IPv6 networks whose last four bytes are an IPv4 address: NAT64, and the obsolete compatible form.
WITH_VERSION_4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONGEST_NAME = 253
# Wider than a domain: a web server's own name may be a single label, or hold an underscore.
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
HOST_AND_PORT = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@?#\\\[\]]+)(?::([1-9][0-9]{0,4}))?", re.ASCII
)
HIGHEST_PORT = 65535
WILDCARD = "*."
DEFAULT_PORTS = {"http": 80, "https": 443}


def plain_domain(value: str) -> str:
    """Give the stored form of a domain: `xn--bcher-kva.example` for `Bücher.example`.

    `*.example.com` stands for every name with one label more than `example.com`.

    Raises:
        ValueError: the value is not a domain; the message says what to write instead.
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


def plain_host(value: str) -> str:
    """Give a host as the Host header has it: a name or an address, with or without a port.

    Raises:
        ValueError: the value is not such a host.
    """
    found = HOST_AND_PORT.fullmatch(value)
    name = host_header(f"http://{_ascii(found[1])}") if found else ""
    if found is None or not name or int(found[2] or 0) > HIGHEST_PORT:
        raise ValueError("must be a host like app.example.com, with or without a port")
    return f"{name}:{found[2]}" if found[2] else name


def plain_http_url(value: str) -> str:
    """Give the URL of a web server as browsers write it, without a slash at its end.

    The host is in lower case and in IDNA's ASCII form; the scheme's own port is left out.

    Raises:
        ValueError: the value is not such a URL, or it holds parts that must not be public.
    """
    try:
        parts = urlsplit(value.strip())
        port = parts.port  # raises ValueError if the port is invalid
    except ValueError:
        raise ValueError("is not a URL like https://keystone.example.com") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        raise ValueError("must be a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password, since it is shown")
    if "?" in value or "#" in value:
        raise ValueError("must not hold a query or a fragment (? or #)")
    if not value.isprintable() or not parts.path.isascii() or " " in value.strip():
        raise ValueError("holds characters that no URL has")
    own_port = "" if port in {None, DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{_url_host(parts.hostname)}{own_port}{parts.path}".rstrip("/")


def _url_host(host: str) -> str:
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return str(address) if address.version == 4 else f"[{address}]"  # noqa: PLR2004
    name = _ascii(host.removesuffix("."))
    is_number = name.rpartition(".")[2].isdecimal()
    if is_number or not HOST.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ValueError("names no host; write it like https://keystone.example.com")
    return name


def is_metadata(host: str) -> bool:
    """Whether a host is a cloud's metadata service, which hands out the machine's credentials.

    All link-local addresses count, because no git server has one. Names are not resolved: only the
    names that clouds themselves use are recognised.
    """
    plain = _as_libraries_read(host).strip("[]").partition("%")[0].rstrip(".")
    if plain.lower() in METADATA_NAMES:
        return True
    with suppress(OSError, ValueError):
        # Read numbers as the resolver does: 2852039166 and 0xa9fea9fe are 169.254.169.254 too.
        plain = socket.inet_ntoa(socket.inet_aton(plain))
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return False
    return any(
        found.is_link_local or found in METADATA_ADDRESSES for found in (address, *_inside(address))
    )


def _as_libraries_read(host: str) -> str:
    """Give a host as libcurl reads it: percent-decoded, with ASCII digits and dots."""
    plain = unicodedata.normalize("NFKC", unquote(host))
    return plain.replace("\N{IDEOGRAPHIC FULL STOP}", ".")


def _inside(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """Give the IPv4 addresses that are embedded in an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    found = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
    yield from filter(None, found)
    if any(address in network for network in WITH_VERSION_4):
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def named_host(url: str) -> str:
    """Give the host name in a URL; "" if the host is an IP address, localhost or missing."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return ""
    with suppress(ValueError):
        host = plain_domain(host)
    return "" if host == "localhost" else host


def host_header(url: str) -> str:
    """Give the host in a URL as the Host header has it, without the port; "" if it is unusable."""
    with suppress(ValueError):
        return _url_host(urlsplit(url).hostname or "")
    return ""


def is_plain(value: str) -> bool:
    """Whether a value is a domain in its stored form."""
    try:
        return plain_domain(value) == value
    except ValueError:
        return False


def wildcard_of(domain: str) -> str:
    """Give the wildcard that covers a domain: `*.example.com` for `app.example.com`."""
    return WILDCARD + domain.partition(".")[2]


def is_covered(domain: str, names: Collection[str]) -> bool:
    """Whether one of the names, or of the wildcards among them, matches the domain."""
    return domain in names or wildcard_of(domain) in names


def _ascii(name: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise ValueError("holds characters that no domain may have") from None
