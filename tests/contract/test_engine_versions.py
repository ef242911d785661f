"""An engine that is replaced by a newer or an older one while Keystone's clients are connected."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import docker
import pytest

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.docker.ping import api_version
from jobs.deployment.ready_child import Standby
from jobs.doctor.checks import examine
from jobs.errors import DockerError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import BuildSpec, ContainerSpec
from jobs.rules.findings import Verdict
from jobs.rules.naming import container_name, labels
from jobs.rules.stopping import StopSignal
from jobs.settings import AllSettings
from tests.build_events import shown_to
from tests.enginebench import IDENTITY, build, dockerfile, ignore, tag_of
from tests.enginefront import EngineFront, Release
from tests.images import app_files
from tests.trees import MemoryTree

pytestmark = pytest.mark.docker

OLD = Release((1, 12), (1, 41))
NEW = Release((1, 44), (1, 51))
# Its newest version was not tested with Keystone, and one that was tested is taken too.
UNTESTED = Release((1, 44), (1, 53))
# It takes no version that was tested with Keystone.
FAR_AHEAD = Release((1, 60), (1, 61))
# Versions that both releases before and after it take.
BETWEEN = Release((1, 24), (1, 51))

both_ways = pytest.mark.parametrize(
    ("before", "after"),
    [(OLD, NEW), (NEW, OLD), (OLD, FAR_AHEAD), (FAR_AHEAD, OLD)],
    ids=["upgraded", "downgraded", "upgraded far", "downgraded far"],
)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[EngineFront]:
    front = EngineFront(tmp_path, OLD)
    yield front
    front.close()


@pytest.fixture
def ours(front: EngineFront, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    """Keystone's adapter, not connected yet."""
    monkeypatch.setenv("DOCKER_HOST", front.url)
    ours = DockerEngine.from_environment(IDENTITY)
    yield ours
    ours.close()


def web(image: str, network: str) -> ContainerSpec:
    return ContainerSpec(
        name=container_name(IDENTITY, "web", 4711),
        image=image,
        network=network,
        labels=labels(IDENTITY, "web", 4711),
        settings=ContainerSettings(container_port=8100, memory_mb=64),
    )


def calls(ours: DockerEngine, image: str, network: str) -> dict[str, Callable[[], object]]:
    """Every call of the port, in an order in which each has something to do."""
    spec = web(image, network)
    made = labels(IDENTITY, "other")
    return {
        "version": ours.version,
        "components": ours.components,
        "image_id": lambda: ours.image_id(image),
        "exposed_ports": lambda: ours.exposed_ports(image),
        "build": lambda: build(ours, dockerfile(), tag=tag_of("replaced")),
        "images": ours.images,
        "remove_image": lambda: ours.remove_image(tag_of("replaced")),
        "free_disk": ours.free_disk,
        "usage": ours.usage,
        "trim_build_cache": lambda: ours.trim_build_cache(2**50),
        "ensure_network": lambda: ours.ensure_network(f"keystone-{IDENTITY}-other", made),
        "networks": ours.networks,
        "remove_network": lambda: ours.remove_network(f"keystone-{IDENTITY}-other"),
        "start": lambda: ours.start(spec),
        "inspect": lambda: ours.inspect(spec.name),
        "changes": lambda: list(ours.changes(within_s=0.1)),
        "containers": ours.containers,
        "output": lambda: ours.output(spec.name, tail=9),
        "insides": lambda: ours.insides(spec.name),
        "keep_running": lambda: ours.keep_running(spec.name),
        "halt": lambda: ours.halt(spec.name, grace_s=0),
        "start_again": lambda: ours.start_again(spec.name),
        "stop": lambda: ours.stop(spec.name, grace_s=0),
    }


@both_ways
def test_every_call_is_answered_by_the_engine_that_took_the_place_of_the_one_before(
    front: EngineFront,
    ours: DockerEngine,
    image: str,
    network: str,
    before: Release,
    after: Release,
) -> None:
    port = {name for name in vars(DockerEngine) if not name.startswith("_")}
    every = calls(ours, image, network)
    assert set(every) == port - {"from_environment", "close"}
    for name, call in every.items():
        front.becomes(before)
        ours.version()
        front.becomes(after)
        refused = front.refused
        call()
        assert front.refused == refused + 1, name


@both_ways
def test_an_engine_that_does_not_name_its_version_is_asked_for_it(
    front: EngineFront, ours: DockerEngine, before: Release, after: Release
) -> None:
    front.becomes(Release(before.oldest, before.newest, is_frank=False))
    ours.containers()
    refused = front.refused
    front.becomes(Release(after.oldest, after.newest, is_frank=False))
    ours.containers()
    assert (front.refused, front.asked[-2]) == (refused + 1, f"GET v{after.name} /version")


def test_a_newer_version_is_used_as_soon_as_an_answer_names_it(
    front: EngineFront, ours: DockerEngine
) -> None:
    ours.networks()
    front.becomes(BETWEEN)
    ours.networks()
    ours.networks()
    assert [asked.split()[1] for asked in front.asked[-2:]] == ["v1.41", "v1.51"]
    assert front.refused == 0


def asked_with(front: EngineFront) -> str:
    return front.asked[-1].split()[1]


def test_a_version_that_keystone_was_not_tested_with_is_not_used(
    front: EngineFront, ours: DockerEngine
) -> None:
    front.becomes(UNTESTED)
    for call in (ours.networks, ours.containers):
        call()
        assert asked_with(front) == "v1.52"
    assert front.refused == 0


def test_of_versions_that_are_all_too_new_the_oldest_is_used(
    front: EngineFront, ours: DockerEngine
) -> None:
    front.becomes(FAR_AHEAD)
    for _ in range(3):
        ours.networks()
        assert asked_with(front) == "v1.60"
    assert front.refused == 1
    front.becomes(UNTESTED)
    ours.networks()
    ours.networks()
    assert asked_with(front) == "v1.52"


@pytest.mark.parametrize("release", [UNTESTED, FAR_AHEAD], ids=["both forms", "new form"])
def test_the_disk_use_is_the_same_in_each_form(
    front: EngineFront, ours: DockerEngine, image: str, network: str, release: Release
) -> None:
    started = ours.start(web(image, network))
    try:
        before = ours.usage()
        front.becomes(release)
        after = ours.usage()
    finally:
        ours.stop(started.id, grace_s=0)
    # Builds of other tests may change the size of the cache meanwhile.
    assert replace(after, cache_bytes=before.cache_bytes) == before
    assert (before.images >= 1, before.containers) == (True, 1)
    assert after.cache_bytes > 0


def test_what_the_build_cache_keeps_has_the_names_that_engines_read(
    front: EngineFront, ours: DockerEngine
) -> None:
    ours.trim_build_cache(2**50)
    (asked,) = (each for each in front.asked if "/build/prune" in each)
    told = dict(parse_qsl(asked.partition("?")[2]))
    assert told == {"all": "1", "keep-storage": f"{2**50}", "reserved-space": f"{2**50}"}


def test_another_error_is_not_repeated(front: EngineFront, ours: DockerEngine) -> None:
    with pytest.raises(DockerError):
        ours.remove_image("not a name")
    assert len([asked for asked in front.asked if "/images/" in asked]) == 1


def test_an_engine_too_old_for_the_sdk_is_refused_and_talked_to_again_afterwards(
    front: EngineFront, ours: DockerEngine
) -> None:
    ours.networks()
    front.becomes(Release((1, 12), (1, 20)))
    with pytest.raises(DockerError, match="too new"):
        ours.networks()
    front.becomes(NEW)
    ours.networks()


# --- Builds ----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("moment", ["/_ping", "/session"])
def test_an_engine_replaced_while_a_build_begins_builds(
    front: EngineFront, ours: DockerEngine, before: Release, after: Release, moment: str
) -> None:
    front.becomes(before)
    ours.version()
    refused = front.refused
    front.becomes(after, after=moment)
    lines: list[str] = []
    tag = tag_of(moment + before.name)
    assert build(ours, app_files("one"), tag=tag, log=lines.append) == ours.image_id(tag)
    # The build itself, and the question for the version that comes before the second try.
    assert front.refused == refused + 2
    assert sum("load build definition" in line for line in lines) == 1


def test_a_build_runs_in_a_control_group_as_soon_as_the_engine_supports_it(
    front: EngineFront, ours: DockerEngine
) -> None:
    def begun() -> str:
        spec = BuildSpec(
            tag_of("group"), "Dockerfile", labels(IDENTITY, "web"), deadline_s=120, cgroup="any"
        )
        ours.build(spec, MemoryTree(app_files("one")), log=shown_to(ignore), stop=StopSignal())
        return next(asked for asked in reversed(front.asked) if "POST" in asked).split("?")[0]

    assert begun() == "POST v1.41 /build"
    front.becomes(NEW)
    assert begun() == "POST v1.51 /grpc"
    front.becomes(OLD)
    assert begun() == "POST v1.41 /build"


# --- Those who hold a client for long --------------------------------------------------------


@both_ways
def test_a_ready_child_connected_before_the_engine_was_replaced(
    front: EngineFront, ours: DockerEngine, tmp_path: Path, before: Release, after: Release
) -> None:
    front.becomes(before)
    connected, found = tmp_path / "connected", tmp_path / "found"

    def connect() -> None:
        ours.free_disk()
        connected.touch()

    def work(message: str) -> None:
        found.with_suffix(".new").write_text(f"{message} {len(ours.components()) > 0}")
        found.with_suffix(".new").rename(found)

    child = Standby.fork((connect,), work)
    _wait_for(connected)
    refused = front.refused
    front.becomes(after)
    assert child.hand_over("go")
    _wait_for(found)
    os.waitpid(child.pid, 0)
    assert found.read_text() == "go True"
    assert front.refused == refused + 1


def test_events_are_followed_through_the_replacement(
    front: EngineFront, ours: DockerEngine, image: str, network: str
) -> None:
    seen: set[str] = set()
    over = threading.Event()

    def follow() -> None:
        while not over.is_set():
            seen.update(ours.changes(within_s=1))

    thread = threading.Thread(target=follow)
    thread.start()
    other = DockerEngine(docker.from_env(), IDENTITY)
    try:
        for release in (NEW, OLD):
            front.becomes(release)
            started = other.start(web(image, network))
            deadline = time.monotonic() + 60
            while started.id not in seen:
                assert time.monotonic() < deadline, "the event was not seen"
                other.halt(started.id, grace_s=0)
                other.start_again(started.id)
                time.sleep(0.2)
            other.stop(started.id, grace_s=0)
    finally:
        over.set()
        thread.join(60)
        other.close()


@pytest.mark.parametrize("release", [OLD, UNTESTED, FAR_AHEAD], ids=["old", "untested", "far"])
def test_the_doctor_measures_every_engine(
    front: EngineFront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: Release
) -> None:
    monkeypatch.setenv("DOCKER_HOST", front.url)
    front.becomes(release)
    found = {each.name: each for each in examine(AllSettings(data_dir=tmp_path / "data"))}
    assert found["docker"].verdict is Verdict.OK
    assert found["engine space"].found.startswith("0 images, ")


def test_the_doctor_asks_each_time(front: EngineFront) -> None:
    environ = {"DOCKER_HOST": front.url}
    assert api_version(environ) == OLD.newest
    front.becomes(NEW)
    assert api_version(environ) == NEW.newest


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made"
        time.sleep(0.02)
