"""What may be a domain, and how it is kept."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.domain_names import (
    METADATA_ADDRESSES,
    METADATA_NAMES,
    is_covered,
    is_metadata,
    is_plain,
    named_host,
    plain_domain,
    wildcard_of,
)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("app.example.com", "app.example.com"),
        ("APP.Example.COM", "app.example.com"),
        ("app.example.com.", "app.example.com"),
        ("app.localhost", "app.localhost"),
        ("*.Example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_a_domain_is_kept_as_it_travels(typed: str, kept: str) -> None:
    assert plain_domain(typed) == kept


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("https://app.example.com", "without scheme or port"),
        ("app.example.com:8080", "without scheme or port"),
        ("app.example.com/shop", "without scheme or port"),
        ("ada@example.com", "without scheme or port"),
        ("localhost", "needs a dot"),
        ("*.com", "needs a dot"),
        ("10.0.0.1", "is an address"),
        ("1.2.3", "is an address"),
        ("", "is not a host name"),
        ("*", "is not a host name"),
        ("a.*.example.com", "is not a host name"),
        ("*.*.example.com", "is not a host name"),
        ("a..b", "is not a host name"),
        ("-a.example", "is not a host name"),
        ("a-.example", "is not a host name"),
        ("a_b.example", "is not a host name"),
        ("a b.example", "is not a host name"),
        ("a.example\n", "is not a host name"),
        ("a.example; shutdown", "is not a host name"),
        (f"{'a' * 64}.example", "is not a host name"),
        (".".join(["abcdefgh"] * 29), "is not a host name"),
        ("☃.example", "characters that no domain may have"),
    ],
)
def test_an_invalid_domain_is_refused_with_a_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        plain_domain(typed)
    assert not is_plain(typed)


@given(st.text(max_size=60))
def test_whatever_is_let_through_is_safe_in_a_command(typed: str) -> None:
    try:
        kept = plain_domain(typed)
    except ValueError:
        return
    assert set(kept) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.*")
    assert is_plain(kept)


def test_a_wildcard_covers_one_label() -> None:
    assert wildcard_of("app.example.com") == "*.example.com"
    assert is_covered("app.example.com", {"*.example.com"})
    assert is_covered("app.example.com", {"app.example.com"})
    assert not is_covered("example.com", {"*.example.com"})
    assert not is_covered("a.app.example.com", {"*.example.com"})


# --- Where clouds hand out the credentials of their machines ---------------------------------


def spellings(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    """Give ways to write an address that some library takes for it."""
    if isinstance(address, ipaddress.IPv6Address):
        return [f"[{address}]", f"[{address.exploded}]", f"[{address.exploded.upper()}]"]
    parts, number = str(address).split("."), int(address)
    a, b, c, d = map(int, parts)
    return [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(f"0{int(part):o}" for part in parts),
        ".".join(hex(int(part)) for part in parts),
        f"{a}.{b}.{c << 8 | d}",
        f"{a}.0x{b << 16 | c << 8 | d:X}",
        "".join(f"%{ord(mark):02x}" for mark in str(address)),
        str(address).translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
        str(address).replace(".", "\N{IDEOGRAPHIC FULL STOP}"),
        str(address).replace(".", "\N{FULLWIDTH FULL STOP}"),
        f"[::ffff:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
    ]


@pytest.mark.parametrize(
    "host", [host for address in METADATA_ADDRESSES for host in spellings(address)]
)
def test_the_address_of_metadata_is_known_however_it_is_written(host: str) -> None:
    assert is_metadata(host)


@pytest.mark.parametrize("name", sorted(METADATA_NAMES))
def test_names_of_the_metadata_service_are_known(name: str) -> None:
    for host in (name, name.upper(), f"{name}.", f"{name}.."):
        assert is_metadata(host)


@pytest.mark.parametrize("host", ["169.254.0.1", "169.254.170.99", "[fe80::1]", "[fe80::1%eth0]"])
def test_link_local_addresses_count_as_metadata_addresses(host: str) -> None:
    assert is_metadata(host)


@pytest.mark.parametrize(
    "host",
    [
        "github.com",
        "git.corp.internal",
        "metadata.example.com",
        "my-metadata",
        "10.0.0.5",
        "192.168.1.7",
        "127.0.0.1",
        "100.100.100.201",
        "[::1]",
        "[fd00::5]",
        "[2606:4700::1111]",
        "[64:ff9b::8.8.8.8]",
        "",
        "%",
        "[",
    ],
)
def test_other_hosts_are_not_metadata_hosts(host: str) -> None:
    assert not is_metadata(host)


@given(host=st.text(max_size=40))
def test_no_host_is_an_error(host: str) -> None:
    is_metadata(host)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Keystone.Example.com:8443/x", "keystone.example.com"),
        ("https://keystone.example.com.", "keystone.example.com"),
        ("https://user:word@keystone.example.com", "keystone.example.com"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("http://keystone:8000", "keystone"),
        ("http://keystone_1.example", "keystone_1.example"),
        ("http://localhost:8000", ""),
        ("http://127.0.0.1:8000", ""),
        ("http://[::1]:8000", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_url_is_no_address(url: str, name: str) -> None:
    assert named_host(url) == name
