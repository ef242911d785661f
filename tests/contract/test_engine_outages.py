"""A registry outage while the real engine builds is not the app's fault, with either builder."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import pytest

from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.classic_build import ClassicBuilder
from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import BuildError, DockerError
from jobs.rules.container_values import BuildSpec
from jobs.rules.stopping import StopSignal
from tests.enginebench import build, ignore, tag_of
from tests.images import AppFiles
from tests.trees import MemoryTree

pytestmark = pytest.mark.docker

FAILED = "could not be pulled, as its registry or the network failed"
LIMITED = "could not be pulled, as its registry limits the pulls of this machine"
UNRESOLVED = "could not be pulled, as the host name of its registry could not be resolved"
Build = Callable[[AppFiles], object]


@pytest.fixture(params=["BuildKit", "older"])
def builder(
    request: pytest.FixtureRequest, client: docker.DockerClient, engine: DockerEngine
) -> Build:
    """Each of the engine's two builders."""
    if request.param == "BuildKit":
        return lambda files: build(engine, files)
    older = ClassicBuilder(engine_address(client.api), client.api.api_version)
    spec = BuildSpec(tag_of("1"), "Dockerfile", deadline_s=60)
    return lambda files: older.build(spec, MemoryTree(files), log=ignore, stop=StopSignal())


@contextmanager
def registry(status: int) -> Iterator[str]:
    """A registry that gives this answer to a request for an image."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v2/" else status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the name is the standard library's

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def from_image(image: str, head: str = "") -> AppFiles:
    return {"Dockerfile": f"{head}FROM {image}\nRUN true\n"}


@pytest.mark.parametrize(("status", "sentence"), [(429, LIMITED), (500, FAILED), (503, FAILED)])
def test_registry_that_is_down_or_limits_the_rate_is_a_platform_error(
    builder: Build, status: int, sentence: str
) -> None:
    with (
        registry(status) as host,
        pytest.raises(DockerError, match=f"base image {host}/x:1 {sentence}"),
    ):
        builder(from_image(f"{host}/x:1"))


def test_registry_that_does_not_listen_is_a_platform_error(builder: Build) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DockerError, match="connection refused"):
            builder(from_image(f"{host}/x:1"))


def test_registry_whose_name_cannot_be_resolved_is_a_platform_error(builder: Build) -> None:
    with pytest.raises(DockerError, match=rf"nosuchhost\.invalid/x:1 {UNRESOLVED}: .*dial tcp"):
        builder(from_image("nosuchhost.invalid/x:1"))


@pytest.mark.parametrize("status", [403, 404])
def test_image_that_is_missing_or_denied_is_the_apps_fault(builder: Build, status: int) -> None:
    with (
        registry(status) as host,
        pytest.raises(BuildError, match=f"{host}/x:1 could not be pulled: "),
    ):
        builder(from_image(f"{host}/x:1"))


def test_registry_outage_for_syntax_or_copied_image_is_a_platform_error(
    engine: DockerEngine,
) -> None:
    with registry(503) as host:
        copied: AppFiles = {"Dockerfile": f"FROM scratch\nCOPY --from={host}/x:1 /a /b\n"}
        read = from_image("scratch", f"# syntax={host}/x:1\n")
        for files, image in ((copied, "base image"), (read, "Dockerfile frontend")):
            with pytest.raises(DockerError, match=f"{image} {host}/x:1 {FAILED}"):
                build(engine, files)
