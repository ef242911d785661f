"""The machine's Docker Engine, for tests that may leave images and containers on it."""

from collections.abc import Iterator

import docker
import pytest

from jobs.adapters.docker.engine import DockerEngine
from jobs.rules.naming import labels
from tests.enginebench import IDENTITY, build, sweep, tag_of
from tests.images import app_files


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    """The machine's engine; at the end, everything with the tests' identity is removed."""
    client = docker.from_env(timeout=60)
    yield client
    sweep(client)
    client.close()


@pytest.fixture(scope="module")
def engine(client: docker.DockerClient) -> DockerEngine:
    """Keystone's adapter of the engine."""
    return DockerEngine(client, IDENTITY)


@pytest.fixture(scope="module")
def image(engine: DockerEngine) -> str:
    """A web server that works."""
    return build(engine, app_files("one"), tag=tag_of("good"))


@pytest.fixture
def network(engine: DockerEngine) -> str:
    """The network of the app `web`."""
    name = f"keystone-{IDENTITY}-web"
    engine.ensure_network(name, labels(IDENTITY, "web"))
    return name
