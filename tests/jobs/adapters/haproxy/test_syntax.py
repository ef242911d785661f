"""How addresses, paths and refusals are written for HAProxy."""

from pathlib import Path

import pytest

from jobs.adapters.haproxy.syntax import (
    bind_address,
    refuse,
    socket_address,
    split_address,
)
from jobs.errors import ConfigurationError, RouterError
from jobs.rules.ip_addresses import join_address


@pytest.mark.parametrize(
    ("address", "parts"),
    [("10.201.0.2:8000", ("10.201.0.2", 8000)), ("[fd00::2]:80", ("fd00::2", 80))],
)
def test_an_address_comes_apart_and_together_again(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
    assert join_address(*parts) == address


@pytest.mark.parametrize(
    "address",
    ["", ":80", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:-1",
     "10.0.0.1:\u0668", "app:80", "10.0.0.1:80;x", "10.0.0.1:80\n", "fd00::2%eth0;x:80"],
)  # fmt: skip
def test_an_address_that_cannot_be_connected_to_is_refused(address: str) -> None:
    with pytest.raises(RouterError, match="can dial"):
        split_address(address)


def test_an_address_to_listen_on_has_one_spelling() -> None:
    assert bind_address("::0", setting="KEYSTONE_APP_BIND") == "::"
    with pytest.raises(ConfigurationError, match="KEYSTONE_APP_BIND: 'x' is not an IP address"):
        bind_address("x", setting="KEYSTONE_APP_BIND")


def test_a_quote_in_a_path_stays_inside_the_word() -> None:
    assert socket_address(Path("/it's/s")) == "'unix@/it'\\''s/s'"


def test_a_refusal_is_one_sentence_that_nobody_keeps() -> None:
    assert refuse(503, "Busy.", "if busy", retry_after_s=2) == (
        "    http-request return status 503 content-type text/plain hdr Retry-After 2 "
        'hdr Cache-Control no-store string "Busy.\\n" if busy\n'
    )
