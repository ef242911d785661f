"""What may be a domain, and how it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain_names import is_covered, is_plain, named_host, plain_domain, wildcard_of


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
def test_what_is_no_domain_is_refused_in_a_sentence(typed: str, sentence: str) -> None:
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
