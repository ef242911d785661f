"""The engine adapter on an engine that, like Podman, cannot update a container's policy."""

from collections.abc import Iterator
from typing import Any

import docker
import pytest
import requests
from docker.transport import UnixHTTPAdapter

from jobs.adapters.docker.engine import DockerEngine
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, ContainerSpec
from jobs.rules.naming import container_name, labels, network_name
from jobs.states import ContainerState
from tests.enginebench import IDENTITY, build, sweep, wait_until
from tests.images import app_files

pytestmark = pytest.mark.docker

NETWORK = network_name(IDENTITY, "web")


class ChangelessEngine(UnixHTTPAdapter):
    """An adapter of HTTP requests to the real engine that answers each update with "not found"."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Pass a request on, unless it updates a container."""
        if not request.path_url.endswith("/update"):
            return super().send(request, *args, **kwargs)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 404, request, str(request.url)
        return answer


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    client = docker.from_env(timeout=60)
    client.api.mount("http+docker://", ChangelessEngine("http+unix:///var/run/docker.sock"))
    yield DockerEngine(client, IDENTITY)
    sweep(client)
    client.close()


def start(engine: DockerEngine, *, behaviour: str = "") -> Container:
    image = build(engine, app_files("one", behaviour=behaviour))
    engine.ensure_network(NETWORK, labels(IDENTITY, "web"))
    name, ours = container_name(IDENTITY, "web", 1), labels(IDENTITY, "web", 1)
    return engine.start(
        ContainerSpec(name, image, NETWORK, ours, settings=ContainerSettings(container_port=8000))
    )


def test_container_is_stopped_and_removed(engine: DockerEngine) -> None:
    started = start(engine)
    engine.stop(started.id, grace_s=10)
    assert engine.inspect(started.id).state is ContainerState.MISSING


def test_exited_container_is_started_again(engine: DockerEngine) -> None:
    started = start(engine, behaviour="exit 3")
    wait_until(lambda: engine.inspect(started.id).state is ContainerState.EXITED)
    before = engine.inspect(started.id)
    engine.keep_running(started.id)
    assert engine.inspect(started.id).started_at > before.started_at
