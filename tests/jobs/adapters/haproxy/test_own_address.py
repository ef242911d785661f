"""Keystone's own address in the router's configuration, as text."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.haproxy.config import configuration
from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.own_address import OwnAddress
from jobs.errors import RouterError

KEY = SecretStr("k" * 43)
OWN = OwnAddress("deploy.example.com", "127.0.0.1:8000", KEY)


def text(own: OwnAddress | None, **doors: int) -> str:
    return configuration(
        bind="127.0.0.1",
        ports=[20000],
        routes=[],
        socket=Path("/data/run/router.sock"),
        doors=DomainDoors("0.0.0.0", **doors),
        policy=Policy(1000, address=own),
    )


def frontend(name: str, whole: str) -> str:
    return whole.partition(f"frontend {name} ")[2].partition("\nfrontend ")[0]


def test_without_a_public_url_there_is_no_such_backend() -> None:
    found = text(None, http=80)
    assert "backend keystone" not in found
    assert "use_backend keystone" not in found
    assert "acl for_keystone always_false" in found


def test_it_is_served_where_domains_are_and_not_on_the_apps_ports() -> None:
    found = text(OWN, http=80, https=443)
    for name in ("http_domains", "https_domains"):
        assert "host_only -m str deploy.example.com\n" in frontend(name, found)
        assert "use_backend keystone if for_keystone\n" in frontend(name, found)
    assert "acl for_keystone always_false" in frontend("apps", found)
    assert "use_backend keystone" not in frontend("apps", found)


def test_the_web_process_is_dialled_from_an_address_of_its_own() -> None:
    found = text(OWN, http=80)
    assert "    server web 127.0.0.1:8000 source 127.83.75.2\n" in found
    assert "    server configured 127.0.0.1:8000 disabled\n" in found
    assert f"http-request set-header X-Keystone-Router {KEY.get_secret_value()}\n" in found


def test_it_has_as_large_a_share_as_an_app() -> None:
    backend = text(OWN, http=80).partition("\nbackend keystone ")[2].partition("\ndefaults ")[0]
    limits = [line for line in backend.splitlines() if "be_conn gt" in line]
    slots = text(OWN, http=80).partition("defaults slots\n")[2].partition("\nbackend ")[0]
    assert limits == [line for line in slots.splitlines() if "be_conn gt" in line]
    assert len(limits) == 2


def test_ipv6_has_no_such_source() -> None:
    found = text(OwnAddress("[2001:db8::1]", "[::1]:8000", KEY), http=80)
    assert "    server web [::1]:8000\n" in found
    assert "host_only -m str [2001:db8::1]\n" in found


def test_a_url_without_tls_is_never_redirected() -> None:
    by_http = OwnAddress("deploy.example.com", "127.0.0.1:8000", KEY, is_https=False)
    found = {own: text(own, http=80, https=443) for own in (OWN, by_http)}
    assert "https } !for_keystone\n" not in found[OWN]
    assert "https } !for_keystone\n" in found[by_http]


@pytest.mark.parametrize(
    ("host", "web", "key"),
    [
        ("", "127.0.0.1:8000", KEY),
        ("Deploy.example.com", "127.0.0.1:8000", KEY),
        ("deploy.example.com }\n log x", "127.0.0.1:8000", KEY),
        ("deploy.example.com", "localhost:8000", KEY),
        ("deploy.example.com", "127.0.0.1:8000\n log x", KEY),
        ("deploy.example.com", "127.0.0.1:8000", SecretStr("short")),
        ("deploy.example.com", "127.0.0.1:8000", SecretStr("k" * 40 + "\n log x")),
    ],
)
def test_what_would_change_the_configuration_is_refused(
    host: str, web: str, key: SecretStr
) -> None:
    with pytest.raises(RouterError):
        OwnAddress(host, web, key)
