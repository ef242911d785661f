"""A running router, and two apps behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.rules.container_values import Route
from tests.certificates import Authority
from tests.contract.router.raw import Mirror, Way
from tests.haproxy import LOCALHOST, RunningRouter, Upstream, free_ports, running_router


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningRouter]:
    with running_router(tmp_path) as router:
        yield router


@pytest.fixture
def router(running: RunningRouter) -> HAProxyRouter:
    return running.adapter


@pytest.fixture
def port(running: RunningRouter) -> int:
    return running.ports[0]


@pytest.fixture
def one() -> Iterator[Upstream]:
    with Upstream("one") as upstream:
        yield upstream


@pytest.fixture
def two() -> Iterator[Upstream]:
    with Upstream("two") as upstream:
        yield upstream


@dataclass
class House:
    """A router with one app behind each of its entrances, and the way to a second app's port."""

    router: RunningRouter
    app: Mirror
    ways: dict[str, Way]
    other: Way


@contextmanager
def house(folder: Path, *, policy: Policy | None = None) -> Iterator[House]:
    """Run a router whose entrances all lead to one app."""
    http, https = free_ports(2)
    doors = DomainDoors(LOCALHOST, http=http, https=https)
    authority = Authority()
    certified = authority.issue("app.example.com", "*.example.com").bundle
    with Mirror() as app, running_router(folder, doors=doors, policy=policy) as running:
        port, second, *_ = running.ports
        for each in (port, second):
            running.adapter.switch(Route(each, "a", app.address))
        plain, secure = ("app.example.org", "*.example.org"), ("app.example.com", "*.example.com")
        running.adapter.serve_domains(dict.fromkeys((*plain, *secure), port))
        running.adapter.serve_certificates(dict.fromkeys(secure, certified))
        ways = {
            "port": Way(port, "app.example.net", "example.net"),
            "http": Way(http, "app.example.org", "example.org"),
            "https": Way(https, "app.example.com", "example.com", authority.trust),
        }
        yield House(running, app, ways, Way(second, "app.example.net", "example.net"))


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("router")) as found:
        yield found


@pytest.fixture
def app(shared_house: House) -> Mirror:
    """The app behind every entrance, with no recorded requests."""
    shared_house.app.seen.clear()
    shared_house.app.adds.clear()
    shared_house.app.status = b"200 OK"
    return shared_house.app


@pytest.fixture(params=["port", "http", "https"])
def way(request: pytest.FixtureRequest, shared_house: House) -> Way:
    """Each entrance of the router in turn."""
    return shared_house.ways[request.param]


@pytest.fixture
def secure_way(shared_house: House) -> Way:
    """The HTTPS entrance."""
    return shared_house.ways["https"]


@pytest.fixture
def ways(shared_house: House) -> dict[str, Way]:
    """All entrances of the router by name."""
    return shared_house.ways
