"""A hostile Dockerfile gets the commit's files and nothing else of the machine that builds it."""

from collections.abc import Iterator

import docker
import pytest

from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import BuildError
from tests.enginebench import IDENTITY, build, dockerfile, printed, sweep

pytestmark = pytest.mark.docker

HOSTS_OWN = "/etc/hostname"


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    client = docker.from_env(timeout=60)
    yield DockerEngine(client, IDENTITY)
    sweep(client)
    client.close()


@pytest.mark.parametrize(
    "step",
    [
        f"COPY {HOSTS_OWN} /stolen",
        f"COPY ../../../..{HOSTS_OWN} /stolen",
        f"ADD {HOSTS_OWN} /stolen",
        f'RUN --mount=type=bind,source={HOSTS_OWN},target=/stolen ["/web", "cat", "/stolen"]',
        f'RUN --mount=type=bind,source=../..{HOSTS_OWN},target=/stolen ["/web", "cat", "/stolen"]',
        'RUN --mount=type=secret,id=keystone,required=true ["/web", "list", "/run/secrets"]',
        'RUN --mount=type=ssh,required=true ["/web", "list", "/run"]',
        'RUN --security=insecure ["/web", "list", "/"]',
        'RUN --network=host ["/web", "list", "/"]',
        "COPY --from=/etc . /stolen",
    ],
)
def test_files_of_the_host_cannot_be_read(engine: DockerEngine, step: str) -> None:
    with pytest.raises(BuildError):
        build(engine, dockerfile(step))


def test_files_of_the_engine_cannot_be_seen(engine: DockerEngine) -> None:
    seen = {line.split()[0] for line in printed(engine, dockerfile('RUN ["/web", "list", "/"]'))}
    assert "/web" in seen
    assert not any("docker.sock" in path or path.startswith("/var/lib") for path in seen)
