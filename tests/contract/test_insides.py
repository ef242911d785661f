"""A look into a container of the real Docker Engine."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from jobs.adapters.docker.engine import DockerEngine
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, ContainerSpec, Insides, UnwritableVolume
from jobs.rules.naming import container_name, labels
from jobs.states import ContainerState
from tests.builders import with_settings
from tests.enginebench import IDENTITY, build, tag_of, wait_until
from tests.images import app_files

pytestmark = pytest.mark.docker
NOBODY = 65534
PASSWD = "root:x:0:0::/:\napp:x:1000:1001::/:\n"


@pytest.fixture
def start(
    engine: DockerEngine, client: docker.DockerClient, image: str, network: str
) -> Iterator[Callable[..., Container]]:
    """Start containers, and remove them and their volumes at the end."""
    started: list[Container] = []
    volumes: set[str] = set()

    def start_one(*command: str, image: str = image, volume: str = "") -> Container:
        deployment = 1 + secrets.randbelow(10**9)
        spec = ContainerSpec(
            name=container_name(IDENTITY, "web", deployment),
            image=image,
            network=network,
            labels=labels(IDENTITY, "web", deployment),
            settings=ContainerSettings(container_port=8100, memory_mb=64),
        )
        if volume:
            spec = replace(spec, volumes={"/data": volume})
            volumes.add(volume)
        started.append(engine.start(with_settings(spec, command=command or None)))
        return started[-1]

    yield start_one
    for container in started:
        engine.stop(container.id, grace_s=0)
    for name in volumes:
        client.volumes.get(name).remove(force=True)


@pytest.fixture
def volume() -> str:
    """Give the name of a volume that does not exist yet."""
    return f"keystone-{IDENTITY}-{secrets.token_hex(4)}"


def seen(engine: DockerEngine, container: Container, *, most: int = 1) -> list[str]:
    """Give what listens, once as many sockets do as are expected."""
    found: list[Insides] = []

    def listens() -> bool:
        found.append(engine.insides(container.id))
        return len(found[-1].listeners or ()) >= most

    wait_until(listens)
    return [str(each) for each in found[-1].listeners or ()]


def test_the_sockets_of_a_container_are_seen(
    engine: DockerEngine, start: Callable[..., Container]
) -> None:
    assert seen(engine, start()) == ["0.0.0.0:8100"]
    pairs = ("0.0.0.0", "3000", "127.0.0.1", "9229", "::", "4000")
    assert sorted(seen(engine, start("/web", "at", *pairs), most=3)) == [
        "0.0.0.0:3000",
        "127.0.0.1:9229",
        "[::]:4000",
    ]


def test_a_container_that_has_ended_shows_nothing(
    engine: DockerEngine, start: Callable[..., Container]
) -> None:
    ended = start("/web", "exit", "0")
    wait_until(lambda: engine.inspect(ended.id).state is ContainerState.EXITED)
    assert engine.insides(ended.id).listeners is None
    assert engine.insides("0" * 64) == Insides()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_any_user_of_this_machine_may_look(
    engine: DockerEngine, client: docker.DockerClient, start: Callable[..., Container]
) -> None:
    container = start()
    assert seen(engine, container) == ["0.0.0.0:8100"]
    pid = client.containers.get(container.id).attrs["State"]["Pid"]
    done = subprocess.run(
        ["/bin/cat", f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/fib_trie"],
        user=NOBODY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert ":1FA4 " in done.stdout, done.stderr
    assert container.ip in done.stdout


def test_a_foreign_namespace_is_not_taken_for_the_containers(
    engine: DockerEngine, start: Callable[..., Container], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = start()
    assert seen(engine, container) == ["0.0.0.0:8100"]
    # As where the engine numbers its processes otherwise: this process is not the container's.
    own = f"/proc/{os.getpid()}"
    monkeypatch.setattr("jobs.adapters.docker.inside.Path", lambda *parts: Path(own, *parts[2:]))
    assert engine.insides(container.id).listeners is None


def unwritable(
    engine: DockerEngine,
    start: Callable[..., Container],
    volume: str,
    *lines: str,
    passwd: str = PASSWD,
) -> tuple[UnwritableVolume, ...]:
    steps = "\n".join(
        ["FROM scratch", "COPY web /web", "COPY etc /etc", *lines, 'CMD ["/web"]', ""]
    )
    files = app_files("owner", dockerfile=steps)
    files |= {"etc/passwd": passwd, "etc/group": "app:x:1001:\n"}
    image = build(engine, files, tag=tag_of("".join(lines) + volume))
    return engine.insides(start(image=image, volume=volume).id).unwritable


def test_numbers_of_any_length_in_a_list_of_users_are_harmless(
    engine: DockerEngine, start: Callable[..., Container], volume: str
) -> None:
    lines = ("VOLUME /data", "USER 1000:1001")
    hostile = f"x:x:1000:{'9' * 5000}::/:\n{PASSWD}"
    found = unwritable(engine, start, volume, *lines, passwd=hostile)
    assert found == (UnwritableVolume("/data", "1000:1001", 0),)


@pytest.mark.parametrize("user", ["app", "1000", "1000:1001", "app:app"])
def test_a_volume_that_the_images_user_cannot_write_is_found(
    engine: DockerEngine, start: Callable[..., Container], volume: str, user: str
) -> None:
    assert unwritable(engine, start, volume, f"USER {user}") == (
        UnwritableVolume("/data", user, owner=0),
    )


def test_an_empty_volume_takes_over_the_owner_of_the_images_folder(
    engine: DockerEngine, start: Callable[..., Container], volume: str
) -> None:
    # As the hint says. The volume is there already, made for an image without that folder.
    assert unwritable(engine, start, volume, "USER app")
    steps = "FROM scratch\nCOPY web /web\nCOPY --chown=1000:1001 owned /data/\nUSER app\n"
    files = app_files("mended", dockerfile=f'{steps}COPY etc /etc\nCMD ["/web"]\n')
    files |= {"owned/.keep": "", "etc/passwd": PASSWD, "etc/group": ""}
    image = build(engine, files, tag=tag_of("mended"))
    assert engine.insides(start(image=image, volume=volume).id).unwritable == ()


@pytest.mark.parametrize("lines", [(), ("USER 0",), ("USER root:app",)])
def test_root_may_write_everywhere(
    engine: DockerEngine, start: Callable[..., Container], volume: str, lines: tuple[str, ...]
) -> None:
    assert unwritable(engine, start, volume, *lines) == ()
