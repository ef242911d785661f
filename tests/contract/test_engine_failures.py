"""The engine adapter's errors when an engine dies or its disk is full, on the test's own engine."""

import secrets
import signal
import threading
from collections.abc import Iterator

import docker
import pytest

from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.classic_build import ClassicBuilder
from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import DockerError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import BuildSpec, ContainerSpec
from jobs.rules.naming import container_name, labels, network_name
from jobs.rules.stopping import StopSignal
from jobs.states import ContainerState
from tests.dockerd import PrivateEngine, private_engine
from tests.enginebench import IDENTITY, build, dockerfile, ignore, long_sleep, wait_until
from tests.images import app_files
from tests.processes import processes_about
from tests.trees import MemoryTree

pytestmark = pytest.mark.docker

LABELS = labels(IDENTITY, "web")
FULL = r"^the Docker Engine's disk is full; free some space \(.*\), then deploy again$"


@pytest.fixture
def private() -> Iterator[PrivateEngine]:
    with private_engine(disk_mb=40) as private:
        yield private


@pytest.fixture
def client(private: PrivateEngine) -> Iterator[docker.DockerClient]:
    client = private.connect()
    yield client
    client.close()


@pytest.fixture
def engine(client: docker.DockerClient) -> DockerEngine:
    return DockerEngine(client, IDENTITY)


def fill(private: PrivateEngine) -> None:
    """Fill the engine's disk completely."""
    with pytest.raises(OSError, match="No space left"):
        (private.data_root / "filler").write_bytes(b"x" * 50 * 2**20)


def test_engine_killed_during_a_build_of_the_older_builder(
    private: PrivateEngine, client: docker.DockerClient
) -> None:
    seconds = long_sleep()
    older = ClassicBuilder(engine_address(client.api), client.api.api_version)
    spec = BuildSpec("keystone/web:1", "Dockerfile", LABELS, deadline_s=60)
    tree = MemoryTree(dockerfile(f'RUN ["/web", "sleep", "{seconds}"]'))

    def kill() -> None:
        wait_until(lambda: bool(processes_about(seconds)))
        private.end(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(DockerError, match="went away in the middle of the build"):
        older.build(spec, tree, log=ignore, stop=StopSignal())
    killer.join(60)


def test_free_disk_is_that_of_the_engines_own_disk(
    private: PrivateEngine, engine: DockerEngine
) -> None:
    before = engine.free_disk()
    (private.data_root / "filler").write_bytes(b"x" * 2**20)
    after = engine.free_disk()

    assert before is not None
    assert after is not None
    assert 30 * 2**20 < after < before <= 40 * 2**20


def test_context_that_does_not_fit_is_a_full_disk(engine: DockerEngine) -> None:
    files = dockerfile("COPY big /big")
    files["big"] = secrets.token_bytes(50_000_000)

    with pytest.raises(DockerError, match=FULL):
        build(engine, files)


def test_nothing_is_built_or_started_on_a_full_disk_and_nothing_left_behind(
    private: PrivateEngine, engine: DockerEngine
) -> None:
    image = build(engine, app_files("one"))
    network, name = network_name(IDENTITY, "web"), container_name(IDENTITY, "web", 1)
    engine.ensure_network(network, labels(IDENTITY, "web"))
    spec = ContainerSpec(
        name,
        image,
        network,
        labels(IDENTITY, "web", 1),
        settings=ContainerSettings(container_port=8000),
    )
    fill(private)

    with pytest.raises(DockerError, match=FULL):
        engine.start(spec)
    with pytest.raises(DockerError, match=FULL):
        build(engine, dockerfile('RUN ["/web", "say", "never"]'))

    (private.data_root / "filler").unlink()
    assert engine.inspect(name).state is ContainerState.MISSING
    assert engine.start(spec).state is ContainerState.RUNNING
