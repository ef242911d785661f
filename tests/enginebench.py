"""What the tests on the real Docker Engine share: a throw-away identity, builds, waiting."""

import hashlib
import secrets
import time
from collections.abc import Callable

import docker

from jobs.adapters.ports import Engine
from jobs.rules.container_values import BuildSpec
from jobs.rules.naming import IDENTITY_LABEL, labels
from jobs.rules.stopping import StopSignal
from tests.build_events import shown_to
from tests.images import AppFiles, app_files
from tests.trees import MemoryTree

IDENTITY = f"t{secrets.token_hex(4)}"


def tag_of(name: str, *, app: str = "web", identity: str = IDENTITY) -> str:
    """Give a tag as Keystone makes them, another one for each name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"keystone-{identity}/{app}:{digest[:12]}-{digest[12:24]}"


# Names of variables that no shell can use, and that programs do.
ODD_NAMES = ("discovery.type", "a-b", "ConnectionStrings:Db", "my.list[0].name", "1ST")
TAG = tag_of("1")


def ignore(_line: object) -> None:
    """Take a line of a log that the test does not look at."""


def sweep(client: docker.DockerClient, identity: str = IDENTITY) -> None:
    """Remove everything that carries this run's identity, or another one."""
    ours: dict[str, str | list[str] | bool] = {"label": f"{IDENTITY_LABEL}={identity}"}
    for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
        container.remove(force=True)
    for network in client.networks.list(filters=ours):
        network.remove()
    for volume in client.volumes.list(filters=ours):
        volume.remove(force=True)
    for image in client.api.images(filters=ours):
        client.api.remove_image(image["Id"], force=True)


def build(  # noqa: PLR0913 - the knobs of one build
    engine: Engine,
    files: AppFiles | MemoryTree,
    *,
    tag: str = TAG,
    dockerfile: str = "Dockerfile",
    deadline_s: float = 120,
    log: Callable[[str], None] = ignore,
    stop: StopSignal | None = None,
) -> str:
    spec = BuildSpec(
        tag=tag,
        dockerfile=dockerfile,
        labels=labels(IDENTITY, "web"),
        cache_key=IDENTITY,
        deadline_s=deadline_s,
    )
    tree = files if isinstance(files, MemoryTree) else MemoryTree(files)
    return engine.build(spec, tree, log=shown_to(log), stop=stop or StopSignal())


def dockerfile(*steps: str) -> AppFiles:
    """An app whose image only runs these steps; never cached."""
    head = ["FROM scratch", "COPY web /web", f"ENV RUN={secrets.token_hex(8)}"]
    return app_files("one", dockerfile="\n".join([*head, *steps, ""]))


def long_sleep() -> str:
    """Give seconds nobody sleeps through, in more digits than other processes' arguments share."""
    return str(10**9 + secrets.randbelow(10**9))


def wait_until(holds: Callable[[], bool], *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.02)


def printed(engine: Engine, tree: AppFiles | MemoryTree) -> list[str]:
    """Build, and give what the steps wrote, without their numbers."""
    lines: list[str] = []
    build(engine, tree, log=lines.append)
    return [text for _, bar, text in (line.partition(" | ") for line in lines) if bar]
