"""IP addresses to listen on, and those that lead to a listener on this machine."""

import pytest

from jobs.rules.ip_addresses import is_everywhere, is_ip, reachable


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("0:0::0", "::1"),
        ("", "127.0.0.1"),
        ("*", "127.0.0.1"),
        ("10.0.0.7", "10.0.0.7"),
        ("::1", "::1"),
        ("keystone.internal", "keystone.internal"),
    ],
)
def test_a_listener_is_reached_at_its_own_address_or_by_loopback(host: str, expected: str) -> None:
    assert reachable(host) == expected
    assert is_everywhere(host) == (host != expected)


@pytest.mark.parametrize(
    ("host", "expected"), [("10.0.0.7", True), ("fd00::2", True), ("localhost", False), ("", False)]
)
def test_a_name_is_no_ip_address(host: str, *, expected: bool) -> None:
    assert is_ip(host) is expected
