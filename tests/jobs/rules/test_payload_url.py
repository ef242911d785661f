"""Where GitHub can call, and where it cannot."""

import pytest

from jobs.rules.payload_url import payload_url_problem

GITHUB = "https://api.github.com"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8000", "127.8.8.8", "localhost", "web.localhost", "[::1]:8000", "0.0.0.0"),
        *("10.1.2.3", "172.16.0.1", "192.168.1.1:8000", "169.254.1.1", "100.64.0.9", "0x7f.1"),
        *("[fd00::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "[::]", "2130706433", "keystone"),
        *(
            "keystone:8000",
            "box.local",
            "box.lan",
            "ci.corp.internal",
            "box.home.arpa",
            "box.local.",
        ),
        "keystone.test",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_where_github_cannot_call_is_told_with_the_way_out(host: str, scheme: str) -> None:
    told = payload_url_problem(f"{scheme}://{host}/webhooks/github", GITHUB)
    assert told.startswith(f"GitHub cannot reach {scheme}://{host}/webhooks/github: ")
    assert "KEYSTONE_PUBLIC_URL" in told


@pytest.mark.parametrize(
    "host",
    ["deploy.example.com", "8.8.8.8", "[2606:4700::1111]:8443", "xn--bcher-kva.de", "a.test.io"],
)
def test_public_hosts_are_right_by_https_and_unsafe_by_http(host: str) -> None:
    assert payload_url_problem(f"https://{host}/webhooks/github", GITHUB) == ""
    told = payload_url_problem(f"http://{host}/webhooks/github", GITHUB)
    assert "without encryption" in told


@pytest.mark.parametrize(
    "api",
    ["https://github.corp.internal/api/v3", "http://10.0.0.5/api/v3", "http://127.0.0.1:9999"],
)
@pytest.mark.parametrize(
    "url", ["http://192.168.1.1:8000/w", "http://keystone/w", "http://x.com/w"]
)
def test_a_github_in_the_private_network_reaches_it(api: str, url: str) -> None:
    assert payload_url_problem(url, api) == ""


def test_a_github_enterprise_with_a_public_name_does_not() -> None:
    assert payload_url_problem("http://192.168.1.1/w", "https://github.octo.com/api/v3")
