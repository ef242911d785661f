"""The router's ways in as text. What they do is shown on a real HAProxy."""

from ipaddress import ip_network

import pytest

from jobs.adapters.haproxy.frontends import DomainDoors, Policy, frontends
from jobs.adapters.haproxy.shares import OWN_SOURCE
from jobs.errors import ConfigurationError

EVERYWHERE, POLICY = "0.0.0.0", Policy(1000)


def text(doors: DomainDoors, policy: Policy = POLICY, *, bind: str = EVERYWHERE) -> str:
    return frontends(bind, [20000], doors, policy)


def sections(doors: DomainDoors, policy: Policy = POLICY) -> dict[str, list[str]]:
    """Give the lines of each frontend."""
    found = {}
    for section in text(doors, policy).split("frontend ")[1:]:
        name, _, rest = section.partition(" from visitors\n")
        found[name] = [line.strip() for line in rest.splitlines()]
    return found


def test_without_domain_ports_only_the_apps_own_ports_exist() -> None:
    assert list(sections(DomainDoors(EVERYWHERE))) == ["apps"]


def test_a_redirect_to_the_standard_port_has_no_port_number() -> None:
    found = text(DomainDoors(EVERYWHERE, http=80, https=443))
    assert "location https://%[var(txn.host)]%[pathq] " in found
    assert "bind 0.0.0.0:443 ssl crt-list certificates.list strict-sni " in found


def test_visitors_are_redirected_to_https_only_if_it_is_served() -> None:
    assert "redirect" not in text(DomainDoors(EVERYWHERE, http=80))


def test_every_address_of_both_kinds_can_be_served() -> None:
    found = text(DomainDoors("::", http=80, https=443), bind="::")
    for address in ("[::]:20000-20000", "[::]:80", "[::]:443"):
        assert f"bind {address} v4v6" in found


def test_an_invalid_address_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="KEYSTONE_DOMAIN_BIND"):
        text(DomainDoors("example.com", http=80))


def test_all_entrances_have_the_same_rules() -> None:
    apps, http, https = sections(DomainDoors(EVERYWHERE, http=80, https=443)).values()
    shared = set(apps) & set(http) & set(https)
    for header in ("Host", "Cookie", "Set-Cookie", "Upgrade", "Connection", "X-Forwarded-Host"):
        assert any(f"-header {header}" in line for line in shared), header
    assert "option http-restrict-req-hdr-names delete" in shared
    assert sum("tcp-request connection reject" in line for line in shared) == 4
    assert any("connections_by_port" in line for line in apps)
    assert any("requests_by_source" in line for line in https)


def test_only_named_proxies_are_trusted() -> None:
    (apps,) = sections(DomainDoors(EVERYWHERE)).values()
    assert "acl trusted always_false" in apps
    trusted = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    (apps,) = sections(DomainDoors(EVERYWHERE), Policy(1000, trusted)).values()
    assert [line for line in apps if line.startswith("acl trusted")] == [
        "acl trusted src 10.0.0.0/8",
        "acl trusted src 2001:db8::/32",
    ]
    assert f"acl own src {OWN_SOURCE}" in apps
