"""Who is behind a proxy: honest chains, forged ones, and proxies nobody named."""

import ipaddress
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from jobs.settings import WebSettings
from receiver.app import create_app
from receiver.login_limits import LoginGate
from receiver.proxies import Network, client_behind, read_address
from tests.builders import PASSWORD, WebRuntime, cookie_name, make_user
from tests.receiver.asking import Answered, Asked, ask

TRUSTED: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.1"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("fd00::/8"),
)
PROXY, CLIENT = "10.0.0.1", "203.0.113.5"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.5", "203.0.113.5"),
        # What the client sent itself stands to the left of what the proxy added.
        ("127.0.0.1, 203.0.113.5", "203.0.113.5"),
        ("127.0.0.1,10.0.0.9,203.0.113.5", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5, 10.0.0.7", "203.0.113.5"),
        ("203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::1, fd00::5", "2001:db8::1"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("fe80::1%eth0", "fe80::1"),
        # All are ours: the furthest one asks.
        ("10.0.0.8, 10.0.0.7", "10.0.0.8"),
        # What cannot be read ends the chain: nothing to its left was said by somebody we trust.
        ("203.0.113.5, unknown", PROXY),
        ("203.0.113.5, _hidden, 10.0.0.7", "10.0.0.7"),
        ("203.0.113.5, <script>", PROXY),
        ("203.0.113.5,", PROXY),
        ("", PROXY),
        (",,,", PROXY),
        ("127.1", PROXY),
        ("0x7f000001", PROXY),
    ],
)
def test_the_nearest_address_that_is_not_ours_is_the_client(chain: str, client: str) -> None:
    found = client_behind(ipaddress.ip_address(PROXY), chain, TRUSTED)
    assert str(found) == client


def test_a_chain_of_thousands_is_not_walked() -> None:
    chain = "198.51.100.1," + ",".join(["10.0.0.7"] * 5000)
    assert str(client_behind(ipaddress.ip_address(PROXY), chain, TRUSTED)) == "10.0.0.7"


@given(st.text(max_size=200))
def test_any_text_at_all_gives_an_address(chain: str) -> None:
    assert client_behind(ipaddress.ip_address(PROXY), chain, TRUSTED) is not None


@given(st.text(max_size=60))
def test_what_reads_as_an_address_is_one(text: str) -> None:
    found = read_address(text)
    assert found is None or ipaddress.ip_address(str(found)) == found


# --- The whole application -------------------------------------------------------------------


@pytest.fixture
def settings(settings: WebSettings) -> WebSettings:
    """A Keystone behind proxies."""
    return settings.model_copy(update={"trusted_proxies": TRUSTED})


@pytest.fixture
def bare(runtime: WebRuntime) -> Iterator[TestClient]:
    """The same Keystone when nobody has named its proxies."""
    settings = runtime.settings.model_copy(update={"trusted_proxies": ()})
    with TestClient(create_app(replace(runtime, settings=settings))) as client:
        yield client


def fail_to_log_in(client: TestClient, peer: str, **headers: str) -> Answered:
    """Try a password, as by a connection from `peer`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b'{"name": "nobody", "password": "a wrong guess"}'
    sent["content-type"] = "application/json"
    return ask(client, Asked("POST", "/login", sent, body=body, peer=peer))


def addresses(admin: TestClient) -> list[str]:
    """Give where the failed logins came from, oldest first."""
    events = admin.get("/api/audit?tag=login.failed").json()["items"]
    return [event["address"] for event in reversed(events)]


def test_the_audit_trail_names_the_client_and_not_the_proxy(
    client: TestClient, admin: TestClient
) -> None:
    fail_to_log_in(client, PROXY, x_forwarded_for=CLIENT)
    fail_to_log_in(client, "198.51.100.1", x_forwarded_for=CLIENT)
    assert addresses(admin) == [CLIENT, "198.51.100.1"]


def test_nobody_is_believed_unless_named(bare: TestClient, admin: TestClient) -> None:
    for peer in (PROXY, "127.0.0.1"):
        fail_to_log_in(bare, peer, x_forwarded_for=CLIENT)
    assert addresses(admin) == [PROXY, "127.0.0.1"]


def test_an_unknown_proxy_is_mentioned_in_the_log_once(
    bare: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="receiver.proxies"):
        for _ in range(3):
            ask(bare, Asked("GET", "/healthz", {"x-forwarded-for": CLIENT}, peer=PROXY))
    (record,) = caplog.records
    assert "KEYSTONE_TRUSTED_PROXIES" in record.getMessage()


def test_forging_the_header_does_not_buy_more_guesses(client: TestClient) -> None:
    assert isinstance(client.app, Starlette)
    client.app.state.login_gate = LoginGate(lambda: 0.0)
    statuses = [
        fail_to_log_in(client, PROXY, x_forwarded_for=f"198.51.100.{number}, {CLIENT}").status
        for number in range(6)
    ]
    assert statuses == [401] * 5 + [429]
    assert fail_to_log_in(client, PROXY, x_forwarded_for="203.0.113.6").status == 401


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {"x-forwarded-for": CLIENT}, 401),
        # A stranger who says that he is this machine.
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, 401),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1, 127.0.0.1"}, 401),
        (PROXY, {"x-forwarded-for": "127.0.0.1"}, 401),
        ("203.0.113.5", {"x-forwarded-for": "127.0.0.1"}, 401),
        # A proxy that adds nothing at all.
        ("127.0.0.1", {}, 401),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, 401),
    ],
)
def test_through_a_proxy_nobody_is_local(
    client: TestClient, peer: str, headers: dict[str, str], status: int
) -> None:
    sent = {"host": "127.0.0.1:8000", **headers}
    assert ask(client, Asked("GET", "/metrics", sent, peer=peer)).status == status


def test_without_a_proxy_the_machine_itself_is_local(bare: TestClient) -> None:
    local = {"host": "127.0.0.1:8000"}
    assert ask(bare, Asked("GET", "/metrics", local, peer="127.0.0.1")).status == 200
    forged = local | {"x-forwarded-for": "127.0.0.1"}
    assert ask(bare, Asked("GET", "/metrics", forged, peer="127.0.0.1")).status == 401


@pytest.mark.parametrize(
    ("peer", "scheme", "is_secure"),
    [
        (PROXY, "https", True),
        (PROXY, "HTTPS", True),
        (PROXY, "http, https", True),
        (PROXY, "https, http", False),
        (PROXY, "http", False),
        (PROXY, "gopher", False),
        ("203.0.113.5", "https", False),
    ],
)
def test_https_is_what_a_trusted_proxy_says(
    client: TestClient, runtime: WebRuntime, peer: str, scheme: str, *, is_secure: bool
) -> None:
    make_user(runtime)
    headers = {"x-forwarded-proto": scheme, "content-type": "application/json"}
    body = f'{{"name": "ada", "password": "{PASSWORD}"}}'.encode()
    answer = ask(client, Asked("POST", "/login", headers, body=body, peer=peer))
    assert answer.status == 200
    cookie = answer.header("set-cookie")
    assert cookie.startswith(f"{cookie_name(runtime, is_secure=is_secure)}=")
    assert ("Secure" in cookie) == is_secure
