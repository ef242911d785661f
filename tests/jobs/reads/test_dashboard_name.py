"""What is said of the dashboard's own name once apps have domains."""

import pytest

from jobs.reads.dashboard_name import name_advice
from tests.jobs.bench import Bench

HTTPS = "https://keystone.example.com"
HTTP = "http://keystone.example.com:8000"


def advice(bench: Bench, **settings: object) -> str:
    with bench.reading() as session:
        return name_advice(session, bench.runtime.settings.model_copy(update=settings))


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8000", HTTPS, HTTP])
def test_without_domains_nothing_is_to_be_done(bench: Bench, url: str) -> None:
    bench.app()
    assert advice(bench, public_url=url, app_bind="0.0.0.0") == ""


@pytest.mark.parametrize("url", ["", "http://localhost:8000", "https://10.0.0.1", "http://[::1]"])
def test_an_address_is_no_name(bench: Bench, url: str) -> None:
    bench.app(domains=["app.example.com"])
    assert advice(bench, public_url=url).startswith("has no host name of its own")


def test_a_name_that_an_app_has_is_shared(bench: Bench) -> None:
    bench.app(domains=["keystone.example.com"])
    assert advice(bench, public_url=HTTPS).startswith("shares the name keystone.example.com")


def test_by_http_the_apps_ports_are_at_the_same_name(bench: Bench) -> None:
    bench.app(domains=["app.example.com"])
    assert "KEYSTONE_APP_BIND=127.0.0.1" in advice(bench, public_url=HTTP, app_bind="0.0.0.0")
    assert advice(bench, public_url=HTTP, app_bind="127.0.0.1") == ""
    assert advice(bench, public_url=HTTPS, app_bind="0.0.0.0") == ""
