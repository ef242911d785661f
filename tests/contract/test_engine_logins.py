"""Private base images from a registry that requires a login, with both builders of the engine."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.builds import Builder
from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import BuildError
from jobs.rules.container_values import BuildSpec
from jobs.rules.naming import labels
from jobs.rules.stopping import StopSignal
from tests.build_events import shown_to
from tests.enginebench import IDENTITY, build, tag_of
from tests.images import AppFiles, app_files
from tests.registry import CONTENT, FILE, PASSWORD, USER, Registry, running_registry
from tests.trees import MemoryTree

pytestmark = pytest.mark.docker


@pytest.fixture
def registry(client: docker.DockerClient) -> Iterator[Registry]:
    with running_registry() as registry:
        yield registry
        # Only the older builder stores a base image under its name.
        for image in client.images.list(name=registry.image.rpartition(":")[0]):
            image.reload()
            client.api.remove_image(registry.image, force=True)


def engine(client: docker.DockerClient, folder: Path, config: object) -> DockerEngine:
    """An engine adapter for a user with this configuration of the docker command."""
    file = folder / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return DockerEngine(client, IDENTITY, config=file)


def files(registry: Registry) -> AppFiles:
    steps = [f"FROM {registry.image}", "COPY web /web", f'RUN ["/web", "cat", "/{FILE}"]']
    return app_files("one", dockerfile="\n".join([*steps, f"ENV RUN={secrets.token_hex(8)}", ""]))


def test_stored_login_opens_the_registry_and_is_in_no_log_line(
    client: docker.DockerClient, registry: Registry, tmp_path: Path
) -> None:
    ours = engine(client, tmp_path, {"auths": {registry.host: {"auth": registry.auth}}})
    lines: list[str] = []

    build(ours, files(registry), log=lines.append)

    assert any(line.endswith(CONTENT.strip()) for line in lines)
    assert USER in registry.users
    assert registry.refusals  # the registry did require a login: the engine first tries without
    assert PASSWORD not in "\n".join(lines)
    assert registry.auth not in "\n".join(lines)


def test_a_login_that_the_commit_contains_is_masked_in_the_log(
    client: docker.DockerClient, registry: Registry, tmp_path: Path
) -> None:
    auths = {f"http://{registry.host}/v2/": {"username": USER, "password": PASSWORD}}
    ours = engine(client, tmp_path, {"auths": auths})
    quoting = app_files("one", dockerfile=f"FROM scratch\nCOPY {PASSWORD} /\n")
    lines: list[str] = []

    with pytest.raises(BuildError) as failure:
        build(ours, quoting, log=lines.append)

    assert PASSWORD not in "\n".join(lines) + str(failure.value)
    assert "[REDACTED]" in str(failure.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, ""),
        ({"auths": {"other.test": {"auth": "YTpi"}}}, ""),
        ({"auths": {}, "credsStore": "desktop"}, "is kept by a credential helper"),
        ({"auths": {"HOST": {"identitytoken": "x"}}}, "is an identity token"),
        ("{", "config.json cannot be used, it is not JSON"),
    ],
)
def test_without_a_login_the_build_fails_and_the_log_says_why(
    client: docker.DockerClient, registry: Registry, tmp_path: Path, config: object, told: str
) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    ours = engine(client, tmp_path, text.replace("HOST", registry.host))
    lines: list[str] = []

    with pytest.raises(BuildError, match=f"^the base image {registry.image} could not be pulled"):
        build(ours, files(registry), log=lines.append)

    assert registry.users == []
    said = [line for line in lines if "login" in line]
    assert (told in said[0]) if told else not said


def test_older_builder_uses_the_login_too(
    client: docker.DockerClient, registry: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {registry.host: {"auth": registry.auth}}}))
    # An API version without build sessions, like that of a very old engine.
    builder = Builder(engine_address(client.api), "1.38", file)
    tag = tag_of("older")
    spec = BuildSpec(tag, "Dockerfile", labels(IDENTITY, "web"), deadline_s=60)
    lines: list[str] = []

    given = builder.build(
        spec, MemoryTree(files(registry)), log=shown_to(lines.append), stop=StopSignal()
    )

    assert given is None
    assert client.images.get(tag).labels["keystone.identity"] == IDENTITY
    assert CONTENT.strip() in lines
    assert PASSWORD not in "\n".join(lines)
