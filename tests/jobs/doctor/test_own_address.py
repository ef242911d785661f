"""What `keystone doctor` says of Keystone's own address, with a real router."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.own_address import OwnAddress
from jobs.doctor.own_address import check_own_address
from jobs.processes.runtime import Runtime, open_runtime
from jobs.records.certificates import set_certificate
from jobs.records.domains import note_domain_ports
from jobs.rules.actors import KEYSTONE
from jobs.rules.certificates import read_bundle
from jobs.rules.findings import Finding, Verdict
from jobs.settings import Settings
from jobs.storage.models import now
from jobs.system.router_key import ensure_router_key
from tests.certificates import Authority
from tests.conftest import SECRET_KEY
from tests.haproxy import LOCALHOST, PLACES, RunningRouter, Upstream, free_ports, running_router

NAME = "keystone.localhost"


@dataclass
class Place:
    """A Keystone with a router that serves its own address."""

    runtime: Runtime[Settings]
    router: RunningRouter
    ports: dict[str, int]

    def certify(self, name: str = NAME) -> None:
        issued = Authority().issue(name)
        bundle = read_bundle(name, certificate=issued.certificate, key=issued.key, at=now())
        with self.runtime.database.writing() as session:
            set_certificate(session, name, bundle, KEYSTONE, vault=self.runtime.vault)
        self.router.adapter.serve_certificates({name: bundle.pem})

    def check(
        self, url: str, *, up: bool = True, github: str = "https://github.internal"
    ) -> Finding:
        changed = {"public_url": url, "github_api_url": github}
        settings = self.runtime.settings.model_copy(update=changed)
        return check_own_address(settings, up=up)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    http, https = free_ports(2)
    settings = Settings(
        data_dir=tmp_path / "data", secret_key=SECRET_KEY, http_port=http, https_port=https
    )
    runtime = open_runtime(settings)
    ports = {"http": http, "https": https}
    with runtime.database.writing() as session:
        note_domain_ports(session, ports)
    doors = DomainDoors(LOCALHOST, **ports)
    key = ensure_router_key(settings.run_dir)
    with Upstream("web") as web:
        own = OwnAddress(NAME, web.address, key, is_https=False)
        policy = Policy(PLACES, address=own)
        with running_router(tmp_path, doors=doors, policy=policy) as router:
            yield Place(runtime, router, ports)
    runtime.database.close()


def test_it_is_served_by_http(place: Place) -> None:
    found = place.check(f"http://{NAME}")
    assert (found.verdict, found.fix) == (Verdict.OK, "")
    assert found.found.startswith(f"http://{NAME} (")
    assert found.found.endswith(f"by the router on port {place.ports['http']}")


def test_it_is_served_by_https_with_a_certificate(place: Place) -> None:
    found = place.check(f"https://{NAME}")
    assert found.verdict is Verdict.WARNING
    assert f"keystone certificate set {NAME}" in found.fix
    place.certify()
    assert place.check(f"https://{NAME}").verdict is Verdict.OK


def test_a_wildcards_certificate_is_enough(place: Place) -> None:
    place.certify("*.keystone.localhost")
    assert place.check(f"https://{NAME}").verdict is Verdict.WARNING
    found = place.check("https://deploy.keystone.localhost")
    assert found.verdict is Verdict.FAILED
    assert "the router answers 421" in found.found


def test_a_router_that_does_not_know_it_is_told_to_be_started_again(place: Place) -> None:
    found = place.check("http://other.localhost")
    assert found.verdict is Verdict.FAILED
    assert "the router answers 421" in found.found
    assert "start Keystone again" in found.fix


def test_a_router_that_is_gone_is_reported(place: Place) -> None:
    place.router.kill()
    found = place.check(f"http://{NAME}")
    assert found.verdict is Verdict.FAILED
    assert "does not answer" in found.found


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "KEYSTONE_PUBLIC_URL"),
        ("https://203.0.113.5", "only a name can have a certificate here"),
        ("https://keystone.invalid", "a name that this machine cannot resolve"),
    ],
)
def test_other_addresses_are_explained(place: Place, url: str, told: str) -> None:
    assert told in place.check(url).found


def test_without_domain_ports_a_proxy_must_serve_it(place: Place) -> None:
    with place.runtime.database.writing() as session:
        note_domain_ports(session, {})
    found = place.check(f"https://{NAME}")
    assert found.verdict is Verdict.IDLE
    assert "a proxy of yours must" in found.found


def test_while_keystone_is_down_nothing_is_asked(place: Place) -> None:
    assert place.check(f"http://{NAME}", up=False).verdict is Verdict.IDLE


def test_an_address_that_github_cannot_reach_is_a_warning(place: Place) -> None:
    found = place.check(f"http://{NAME}", github="https://api.github.com")
    assert found.verdict is Verdict.WARNING
    assert f"GitHub cannot reach http://{NAME}/webhooks/github" in found.found
    assert found.fix.startswith("set KEYSTONE_PUBLIC_URL to an https:// URL")
