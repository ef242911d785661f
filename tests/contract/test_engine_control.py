"""Builds by BuildKit's own control service on the real engine, with the results of `POST /build`.

The engine here may be too old to put builds into a control group; it supports everything else.
"""

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import docker
import pytest
from pydantic import SecretStr

from jobs.adapters.buildkit.client import BuildKit
from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import BuildError, CancelledError
from jobs.rules.container_values import BuildSpec
from jobs.rules.naming import labels
from jobs.rules.stopping import StopSignal
from tests.build_events import shown_to
from tests.enginebench import IDENTITY, dockerfile, long_sleep, tag_of, wait_until
from tests.images import app_files
from tests.processes import processes_about
from tests.trees import MemoryTree

pytestmark = pytest.mark.docker

TAG = tag_of("control")
SPEC = BuildSpec(
    TAG, "Dockerfile", labels(IDENTITY, "web"), cache_key=IDENTITY, deadline_s=60, cgroup="any"
)


@dataclass
class ControlBench:
    """A builder that uses the control service, and the output of its last build."""

    client: docker.DockerClient
    lines: list[str] = field(default_factory=list)

    def build(
        self,
        tree: MemoryTree,
        stop: StopSignal | None = None,
        secrets: Mapping[str, SecretStr] | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> str:
        """Build an image, and give its id."""
        self.lines.clear()
        api = self.client.api
        kit = BuildKit(engine_address(api), api.api_version, secrets or {}, in_cgroup=True)
        spec = replace(SPEC, **changes)
        return kit.build(spec, tree, log=shown_to(self.lines.append), stop=stop or StopSignal())


@pytest.fixture
def bench(client: docker.DockerClient) -> ControlBench:
    return ControlBench(client)


def test_image_is_built_tagged_labelled_and_logged(
    bench: ControlBench, engine: DockerEngine
) -> None:
    image = bench.build(MemoryTree(dockerfile('RUN ["/web", "say", "héllo"]')))

    assert engine.image_id(TAG) == image
    assert bench.client.images.get(TAG).labels == dict(SPEC.labels)
    number = next(line for line in bench.lines if "héllo" in line).split()[0]
    assert f"{number} | héllo" in bench.lines
    assert any(line.startswith(f"{number} DONE ") for line in bench.lines)


def test_arguments_secrets_and_target_reach_the_build(bench: ControlBench) -> None:
    text = """\
FROM scratch AS wanted
COPY web /web
ARG SAID
LABEL said=${SAID}
RUN --mount=type=secret,id=key ["/web", "cat", "/run/secrets/key"]
FROM wanted
RUN ["/web", "exit", "3"]
"""
    # Longer than the engine accepts in one message.
    said = "yes" + secrets.token_hex(50_000)
    tree = MemoryTree(app_files("one", dockerfile=text))
    key = SecretStr(f"s3cr3t-{secrets.token_hex(4)}")
    bench.build(tree, secrets={"key": key}, args={"SAID": SecretStr(said)}, target="wanted")

    assert bench.client.images.get(TAG).labels["said"] == said
    assert any(key.get_secret_value() in line for line in bench.lines)


def test_failed_step_has_the_same_error_as_by_post_build(bench: ControlBench) -> None:
    with pytest.raises(
        BuildError,
        match=r'^the build failed: exiting with code 3, at "RUN .*" \(line 4 of .*exit code 3$',
    ):
        bench.build(MemoryTree(dockerfile('RUN ["/web", "exit", "3"]')))
    assert any("exiting with code 3" in line for line in bench.lines)


def test_dockerfile_that_cannot_be_read_is_the_apps_fault(bench: ControlBench) -> None:
    with pytest.raises(BuildError, match=r"^the build failed: .*unknown instruction: NONSENSE"):
        bench.build(MemoryTree({"Dockerfile": "FROM scratch\nNONSENSE\n"}))


def test_a_build_that_is_stopped_ends_in_the_engine(bench: ControlBench) -> None:
    seconds, stop = long_sleep(), StopSignal()

    def cancel() -> None:
        wait_until(lambda: bool(processes_about(seconds)))
        stop.set(CancelledError("cancelled by user:ada"))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(CancelledError):
        bench.build(MemoryTree(dockerfile(f'RUN ["/web", "sleep", "{seconds}"]')), stop)
    canceller.join(60)
    wait_until(lambda: not processes_about(seconds))
