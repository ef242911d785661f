"""Builds inside their limits, on the test's own real engine.

The engines of Debian 12 and Ubuntu 22.04 run all builds in one control group, which the test
limits. Newer engines put a build into the group that the request names; these are tested by hand.
"""

import http.client
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
from sqlmodel import text

from jobs.adapters.cgroups import ROOT, ControlGroup
from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import BuildError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import BuildSpec, ContainerSpec, Limits
from jobs.rules.naming import container_name, labels
from jobs.rules.stopping import StopSignal
from jobs.storage.database import Database
from tests.build_events import shown_to
from tests.dockerd import private_engine
from tests.enginebench import IDENTITY, dockerfile, ignore, tag_of, wait_until
from tests.images import AppFiles
from tests.trees import MemoryTree

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make control groups"),
]

MIB = 1024 * 1024
LIMITS = Limits(memory=64 * MIB, pids=40, cpus=0.5)
PARENT = f"keystone-test-{secrets.token_hex(4)}"
# How long an app may wait on a busy machine because of other programs.
ANSWERS_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def limited() -> Iterator[DockerEngine]:
    """An engine with limits for all builds."""
    group = ControlGroup(f"{PARENT}/buildkit")
    group.limit(LIMITS)
    with private_engine(disk_mb=100, options=("--cgroup-parent", f"/{PARENT}")) as private:
        client = private.connect()
        yield DockerEngine(client, IDENTITY)
        client.close()
    remove_groups()


def remove_groups() -> None:
    """Also remove the control groups that the engine has created."""
    for top in ROOT.glob(f"*/{PARENT}"):
        for folder, _folders, _files in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def build(engine: DockerEngine, files: AppFiles, *, log: Callable[[str], None] = ignore) -> str:
    spec = BuildSpec(
        tag_of("limited"),
        "Dockerfile",
        labels(IDENTITY, "web"),
        cache_key=IDENTITY,
        deadline_s=120,
        limits=LIMITS,
        cgroup=f"{PARENT}/buildkit",
        is_shared_cgroup=True,
    )
    return engine.build(spec, MemoryTree(files), log=shown_to(log), stop=StopSignal())


def test_an_ordinary_build_goes_through(limited: DockerEngine) -> None:
    assert build(limited, dockerfile('RUN ["/web", "fork", "5"]')).startswith("sha256:")


def test_the_error_of_a_build_that_runs_out_of_memory_names_the_limit(
    limited: DockerEngine,
) -> None:
    with pytest.raises(BuildError) as failed:
        build(limited, dockerfile('RUN ["/web", "eat", "512"]'))
    assert str(failed.value).endswith(
        ": exit code 137; builds together may use 64 MB of memory (KEYSTONE_BUILD_MEMORY_MB)"
    )


def test_the_error_of_another_failure_names_no_limit(limited: DockerEngine) -> None:
    with pytest.raises(BuildError, match=r"exit code 3$"):
        build(limited, dockerfile('RUN ["/web", "exit", "3"]'))


def test_a_fork_bomb_ends_while_an_app_answers_and_the_database_writes(
    limited: DockerEngine,
    engine: DockerEngine,
    client: docker.DockerClient,
    image: str,
    network: str,
    empty_database: Path,
) -> None:
    number = 1 + secrets.randbelow(10**9)
    spec = ContainerSpec(
        container_name(IDENTITY, "web", number),
        image,
        network,
        labels(IDENTITY, "web", number),
        settings=ContainerSettings(container_port=8000),
    )
    started = engine.start(spec)
    assert client.containers.get(started.id).attrs["HostConfig"]["OomScoreAdj"] == 500
    wait_until(lambda: answers(started.ip))
    lines: list[str] = []
    with (
        kept_doing(lambda: answers(started.ip)) as answered,
        kept_doing(lambda: writes(empty_database)) as written,
        pytest.raises(BuildError) as failed,
    ):
        # A second safeguard: each process ends after ten seconds.
        build(limited, dockerfile('RUN ["/web", "fork", "400"]'), log=lines.append)
    engine.stop(started.id, grace_s=0)

    assert str(failed.value).endswith(
        ": exit code 1; builds together may have 40 processes (KEYSTONE_BUILD_PIDS)"
    )
    assert any("cannot fork" in line for line in lines)
    for took in (answered, written):
        assert took, "it was never tried"
        assert max(took) < ANSWERS_WITHIN_S


def answers(host: str) -> bool:
    """Send a request to an app on the other engine."""
    connection = http.client.HTTPConnection(host, 8000, timeout=ANSWERS_WITHIN_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()


def writes(path: Path) -> bool:
    """Write to Keystone's database."""
    database = Database(f"sqlite:///{path}")
    try:
        with database.writing() as session:
            session.execute(text("UPDATE identity SET name = name"))
    finally:
        database.close()
    return True


@contextmanager
def kept_doing(do: Callable[[], bool]) -> Iterator[list[float]]:
    """Repeat something while the block runs; give the time that each call took."""
    over, took = threading.Event(), []

    def run() -> None:
        while not over.is_set():
            begun = time.monotonic()
            assert do()
            took.append(time.monotonic() - begun)
            over.wait(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(60)
