"""Keystone's own address as it follows from the settings."""

import logging

import pytest
from pydantic import SecretStr

from jobs.processes.own_address import own_address, web_address
from jobs.rules.domain_names import host_header
from jobs.settings import Settings

KEY = SecretStr("k" * 43)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://deploy.example.com", "deploy.example.com"),
        ("https://Deploy.Example.COM.:8443/keystone", "deploy.example.com"),
        ("http://203.0.113.5:8000", "203.0.113.5"),
        ("http://[2001:DB8:0::1]:80", "[2001:db8::1]"),
        ("http://localhost", "localhost"),
        ("http://my_host", "my_host"),
        ("", ""),
        ("http://", ""),
        ("http://[", ""),
        ("http://a..b", ""),
        (f"http://{'a.' * 130}example", ""),
    ],
)
def test_the_host_is_as_browsers_send_it(url: str, host: str) -> None:
    assert host_header(url) == host


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:8000"),
        ("10.0.0.5", "10.0.0.5:8000"),
        ("0.0.0.0", "127.0.0.1:8000"),
        ("::", "[::1]:8000"),
        ("::1", "[::1]:8000"),
        ("localhost", "127.0.0.1:8000"),
    ],
)
def test_the_web_process_is_reached_where_it_listens(host: str, address: str) -> None:
    assert web_address(Settings(host=host)) == address


def test_without_a_public_url_the_router_serves_no_such_address() -> None:
    assert own_address(Settings(), KEY) is None


def test_the_scheme_decides_about_redirects() -> None:
    by_https = own_address(Settings(public_url="https://deploy.example.com"), KEY)
    by_http = own_address(Settings(public_url="http://deploy.example.com"), KEY)
    assert by_https is not None
    assert by_http is not None
    assert (by_https.is_https, by_http.is_https) == (True, False)


def test_a_web_process_that_cannot_be_found_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(host="no such host", public_url="https://deploy.example.com")
    with caplog.at_level(logging.WARNING):
        assert own_address(settings, KEY) is None
    assert "no such host has no address" in caplog.text
