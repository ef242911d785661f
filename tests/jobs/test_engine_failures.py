"""Deployments on engines that fail: how each ends, and in which words."""

import http.client
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from pydantic import SecretStr

from jobs.adapters.buildkit.failures import DISK_FULL, MAKE_ROOM
from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.http_probe import HttpProbe
from jobs.adapters.ports import Engine, Probe, Router
from jobs.deployment.work import Tools
from jobs.dispatch import dispatch, real_tools
from jobs.duties.containers import look_at_containers
from jobs.errors import RouterError
from jobs.processes.router_server import router_command
from jobs.processes.runtime import Runtime
from jobs.rules.container_values import ProbeResult
from jobs.settings import PortRange, WorkerSettings
from jobs.states import ContainerState, DeploymentState, StepName, StepState
from jobs.storage.models import App, Deployment
from tests.dockerd import PrivateEngine, private_engine
from tests.enginebench import dockerfile, long_sleep, sweep, wait_until
from tests.fakes import FakeWorld
from tests.haproxy import free_ports
from tests.images import AppFiles, app_files
from tests.jobs.bench import Bench, push_of
from tests.processes import processes_about

SECRET_KEY = SecretStr("a key that only the tests use")


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> WorkerSettings:
    """A worker's settings, with ports that nobody has, and no floor for the disk."""
    first, last = free_ports(2)
    return WorkerSettings(
        data_dir=tmp_path / "data",
        redis_url=redis_url,
        secret_key=SECRET_KEY,
        port_range=PortRange(first=first, last=last),
        http_port=0,
        https_port=0,
        min_free_disk_mb=0,
    )


@pytest.fixture
def world(runtime: Runtime[WorkerSettings]) -> FakeWorld:
    """The fake world, with a router for those ports."""
    ports = runtime.settings.port_range
    return FakeWorld(runtime.identity, ports=range(ports.first, ports.last + 1))


class Believer(HttpProbe):
    """A probe that finds everything healthy: the router is not real, so nothing leads there."""

    def look(self, *_: object, **__: object) -> ProbeResult:
        """Look at nothing."""
        return ProbeResult(healthy=True)


def run(bench: Bench, app: App, files: AppFiles, tools: Tools) -> Deployment:
    """Push these files, and have a worker with these tools take the wake-up."""
    sha = bench.repository().commit(files)
    receipt = bench.deliver(push_of(bench, sha))
    deployment = next(row.id or 0 for row, name in receipt.deployments if name == app.name)
    dispatch(bench.runtime, tools, deployment, holder="worker:1")
    return bench.deployment(deployment)


def tools(
    world: FakeWorld,
    *,
    engine: Engine | None = None,
    router: Router | None = None,
    probe: Probe | None = None,
) -> Tools:
    """The fake world, with something real in it."""
    fake = world.tools
    return Tools(engine or fake.engine, fake.source, router or fake.router, probe or fake.probe)


# --- An engine that is going down, or full ---------------------------------------------------


@contextmanager
def engine_of(private: PrivateEngine, bench: Bench) -> Iterator[DockerEngine]:
    engine = DockerEngine(private.connect(), bench.runtime.identity)
    try:
        yield engine
    finally:
        engine.close()


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_engine_that_goes_in_the_middle_of_a_build(bench: Bench, number: signal.Signals) -> None:
    app = bench.app()
    seconds = long_sleep()
    with private_engine() as private, engine_of(private, bench) as engine:

        def end() -> None:
            wait_until(lambda: bool(processes_about(seconds)))
            private.end(number)

        ender = threading.Thread(target=end)
        ender.start()
        files = dockerfile(f'RUN ["/web", "sleep", "{seconds}"]')
        done = run(bench, app, files, tools(bench.world, engine=engine))
        ender.join(60)

    reason = "the Docker Engine went away in the middle of the build"
    assert (done.state, done.reason) == (DeploymentState.ERROR, reason)
    assert bench.steps(done.id or 0)[StepName.BUILD] is StepState.ERROR
    assert bench.statuses(done.id or 0)[-1].description.endswith(f": {reason}")
    assert reason in bench.log(done.id or 0)
    assert bench.leases() == []


def test_engine_that_was_down_when_the_worker_began(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    engine = real_tools(bench.runtime).engine
    done = run(bench, bench.app(), app_files("one"), tools(bench.world, engine=engine))

    told = (DeploymentState.ERROR, "the Docker Engine does not answer; is it running?")
    assert (done.state, done.reason) == told


@pytest.mark.docker
def test_disk_that_runs_full_during_the_build(bench: Bench) -> None:
    files = dockerfile("COPY big /big")
    files["big"] = secrets.token_bytes(50_000_000)
    with private_engine(disk_mb=40) as private, engine_of(private, bench) as engine:
        done = run(bench, bench.app(), files, tools(bench.world, engine=engine))

    assert (done.state, done.reason) == (DeploymentState.ERROR, DISK_FULL)


FILLER = """
#include <stdio.h>
#include <string.h>
int main(void) {
    char page[4096];
    memset(page, 7, sizeof page);
    FILE *file = fopen("/big", "w");
    while (fwrite(page, 1, sizeof page, file) == sizeof page) {}
    perror("fill: /big");
    return 1;
}
"""


def filler(folder: Path) -> bytes:
    """Compile a program that fills the disk and says what came of it."""
    compiler = shutil.which("gcc")
    assert compiler
    binary = folder / "filler"
    command = [compiler, "-O2", "-static", "-s", "-o", str(binary), "-x", "c", "-"]
    subprocess.run(command, input=FILLER.encode(), check=True, timeout=60)
    return binary.read_bytes()


@pytest.mark.docker
def test_disk_that_a_command_of_the_build_fills(bench: Bench, tmp_path: Path) -> None:
    files: AppFiles = {
        "Dockerfile": 'FROM scratch\nCOPY web /web\nRUN ["/web"]\n',
        "web": filler(tmp_path),
    }
    with private_engine(disk_mb=40) as private, engine_of(private, bench) as engine:
        done = run(bench, bench.app(), files, tools(bench.world, engine=engine))

    assert done.state is DeploymentState.ERROR
    assert done.reason == (
        'the build failed: fill: /big: No space left on device, at "RUN ["/web"]" '
        "(line 3 of Dockerfile): exit code 1, as the Docker Engine's disk is full; "
        f"{MAKE_ROOM}"
    )


@pytest.mark.docker
def test_disk_below_the_floor_begins_no_build(bench: Bench) -> None:
    app = bench.app()
    floor = bench.runtime.settings.model_copy(update={"min_free_disk_mb": 500})
    strict = replace(bench, runtime=replace(bench.runtime, settings=floor))
    with private_engine(disk_mb=40) as private, engine_of(private, bench) as engine:
        done = run(strict, app, app_files("one"), tools(bench.world, engine=engine))

    assert done.state is DeploymentState.ERROR
    assert "MB are free on Docker's disk, and a build needs 500; free some" in done.reason


# --- Memory ----------------------------------------------------------------------------------

# The engine does not always learn of the cause before it learns of the end.
OUT_OF_MEMORY = (
    "was stopped because it was out of memory",
    "exited with code 137, as when out of memory",
)


@pytest.fixture
def engine(bench: Bench) -> Iterator[DockerEngine]:
    """This machine's engine, with nothing of this Keystone's on it afterwards."""
    client = docker.from_env(timeout=60)
    yield DockerEngine(client, bench.runtime.identity)
    sweep(client, bench.runtime.identity)
    client.close()


@pytest.mark.docker
def test_container_that_takes_too_much_memory_before_it_is_healthy(
    bench: Bench, engine: DockerEngine
) -> None:
    app = bench.app(memory_mb=16)
    real = tools(bench.world, engine=engine, probe=HttpProbe())
    done = run(bench, app, app_files("one", behaviour="eat 64"), real)

    assert done.state is DeploymentState.FAILURE
    assert done.reason in {f"the container {told} before it was healthy" for told in OUT_OF_MEMORY}
    assert engine.containers() == []


@pytest.mark.docker
def test_live_container_that_takes_too_much_memory_shows_with_its_app(
    bench: Bench, engine: DockerEngine
) -> None:
    app = bench.app(memory_mb=16, restart="no")
    real = tools(bench.world, engine=engine, probe=Believer())
    done = run(bench, app, app_files("one"), real)
    assert done.state is DeploymentState.SUCCESS, done.reason
    (container,) = engine.containers()

    eat(container.ip, 64)

    wait_until(lambda: engine.inspect(container.id).state is ContainerState.EXITED)
    look_at_containers(bench.runtime, real)

    seen = bench.fresh(app)
    assert seen.container_state is ContainerState.EXITED
    assert seen.container_reason in {f"its container {told}" for told in OUT_OF_MEMORY}


def eat(host: str, megabytes: int) -> None:
    """Have the app use that much memory, which it does not survive."""
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection(host, 8000, timeout=60)
        try:
            connection.request("GET", f"/eat?mb={megabytes}")
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                connection.getresponse()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the app never listened"
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()


@pytest.mark.docker
@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ('USER nosuchuser\nCMD ["/web"]', r"^unable to find user nosuchuser: no matching entries"),
        (
            'CMD ["/nope"]',
            r"^the container exited with code 127 before it was healthy; it wrote: .*/nope",
        ),
    ],
)
def test_image_that_cannot_be_run_is_the_apps_fault(
    bench: Bench, engine: DockerEngine, steps: str, reason: str
) -> None:
    real = tools(bench.world, engine=engine, probe=HttpProbe())
    text = f"FROM scratch\nCOPY web /web\n{steps}\n"
    done = run(bench, bench.app(), app_files("one", dockerfile=text), real)

    assert done.state is DeploymentState.FAILURE
    assert re.search(reason, done.reason), done.reason
    assert engine.containers() == []


@pytest.mark.docker
@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            'CMD ["/web", "at", "0.0.0.0", "3000"]',
            "refused; it listens on port 3000: `keystone app set web --container-port 3000`",
        ),
        (
            'EXPOSE 5000\nCMD ["/web", "at", "127.0.0.1", "5000"]',
            "listens on 127.0.0.1:5000 only, inside its container: let it listen on 0.0.0.0:5000",
        ),
        (
            'CMD ["/web", "at", "::", "8000"]',
            "it listens by IPv6 only ([::]:8000): let it listen on 0.0.0.0:8000 as well",
        ),
        ('CMD ["/web", "sleep", "600"]', "refused; nothing listens in the container"),
        (
            'USER 1000\nCMD ["/web", "write", "/data/x", "y"]',
            (
                "wrote: /data/x: Permission denied; the volume at /data belongs to root, and the "
                "image runs as 1000: add `RUN mkdir -p /data && chown 1000 /data`"
            ),
        ),
    ],
    ids=["wrong port", "loopback", "IPv6", "silent", "volume"],
)
def test_app_that_is_not_reached_or_cannot_write_is_told_what_mends_it(
    bench: Bench, engine: DockerEngine, steps: str, told: str
) -> None:
    real = tools(bench.world, engine=engine, probe=HttpProbe())
    text = f"FROM scratch\nCOPY web /web\n{steps}\n"
    app = bench.app(health_timeout_s=1, volumes=["data:/data"])
    done = run(bench, app, app_files("one", dockerfile=text), real)

    assert done.state is DeploymentState.FAILURE
    assert told in done.reason, done.reason


# --- A port that a stranger took -------------------------------------------------------------


def test_port_that_another_program_took_before_the_router_started(bench: Bench) -> None:
    app = bench.app()
    with (
        socket.create_server((bench.runtime.settings.app_bind, app.host_port)),
        running(router_command(bench.runtime)),
    ):
        router = real_tools(bench.runtime).router
        wait_until(lambda: answers(router))
        done = run(bench, app, app_files("one"), tools(bench.world, router=router))

    assert done.state is DeploymentState.ERROR
    assert done.reason == (
        f"the router does not listen on port {app.host_port}: another program had it when the "
        "router was started; end that program and start Keystone again"
    )
    assert bench.containers_of(done.id or 0) == []


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(60)


def answers(router: Router) -> bool:
    try:
        router.version()
    except RouterError:
        return False
    return True
