"""An app that refuses the Host header is recognised by what its framework says."""

import pytest

from jobs.rules.refused_host import host_is_refused

SAID = [
    "Invalid HTTP_HOST header: '10.201.0.2:8000'. You may need to add it to ALLOWED_HOSTS.",
    "DisallowedHost at /",
    "[ActionDispatch::HostAuthorization::DefaultResponseApp] Blocked hosts: 10.201.0.2:8000",
    "Blocked host: 10.201.0.2",
    "Invalid host header",
    "Invalid Host header",
    'Blocked request. This host ("10.201.0.2") is not allowed.',
    'Untrusted Host "10.201.0.2".',
    "Bad Request - Invalid Hostname",
]


@pytest.mark.parametrize("said", SAID)
def test_the_words_of_a_framework_are_known(said: str) -> None:
    assert host_is_refused(400, ["something", said])
    assert host_is_refused(403, [said])
    assert not host_is_refused(503, [said])
    assert not host_is_refused(None, [said])


@pytest.mark.parametrize("said", ["", "Bad Request", "database host is unknown", "Forbidden"])
def test_other_refusals_are_not_about_the_host(said: str) -> None:
    assert not host_is_refused(400, [said])
