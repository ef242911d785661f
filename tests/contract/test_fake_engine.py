"""The fake engine behaves like the real one: every test runs on both.

This file covers the behaviour that the tests of deployments and of the reconciler rely on. Other
files cover behaviour that only the real engine has.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Protocol

import docker
import pytest

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.ports import Engine
from jobs.errors import (
    BuildError,
    CancelledError,
    DockerError,
    StartError,
)
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import BuildSpec, ContainerSpec
from jobs.rules.naming import IDENTITY_LABEL, container_name, labels
from jobs.rules.stopping import StopSignal
from jobs.states import ContainerState
from tests.enginebench import tag_of, wait_until
from tests.fakes import (
    Behaviour,
    FakeEngine,
)
from tests.images import app_files
from tests.trees import MemoryTree

IDENTITY = f"f{secrets.token_hex(4)}"
REAL = pytest.param("real", marks=pytest.mark.docker)


class Hand(Protocol):
    """Another user of the engine, with a Docker command line."""

    def run(self, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Start a container from an image, and give its id."""

    def is_running(self, container_id: str) -> bool:
        """Whether a container runs."""

    def tag(self, image: str, tag: str) -> None:
        """Give an image one more tag."""

    def tags(self, image: str) -> set[str]:
        """Give the tags of an image."""


class RealHand:
    """Another user of the real engine."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._started: list[str] = []

    def run(self, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Start it, with the image's labels besides."""
        made = self._client.containers.run(image, name=name, labels=dict(labels), detach=True)
        self._started.append(str(made.id))
        return self._started[-1]

    def is_running(self, container_id: str) -> bool:
        """Ask the real engine."""
        return bool(self._client.api.inspect_container(container_id)["State"]["Running"])

    def tag(self, image: str, tag: str) -> None:
        """Tag it."""
        repository, _, version = tag.partition(":")
        self._client.api.tag(image, repository, version)

    def tags(self, image: str) -> set[str]:
        """Read the tags from the real engine."""
        return set(self._client.images.get(image).tags)

    def clear_away(self) -> None:
        """Remove the started containers."""
        for each in self._started:
            self._client.api.remove_container(each, force=True)


class FakeHand:
    """Another user of the fake engine."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def run(self, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Start it, with the image's labels besides."""
        inherited = self._engine.all_images[image].labels
        return self._engine.add_container(name, {**inherited, **labels})

    def is_running(self, container_id: str) -> bool:
        """Read the state from the fake engine."""
        return self._engine.all_containers[container_id].about.state is ContainerState.RUNNING

    def tag(self, image: str, tag: str) -> None:
        """Tag it."""
        found = self._engine.all_images[image]
        self._engine.add_image(image, found.labels, *found.tags, tag)

    def tags(self, image: str) -> set[str]:
        """Read the tags from the fake engine."""
        return set(self._engine.all_images[image].tags)


@dataclass
class EngineBench:
    """An engine, a way to set an app's behaviour, and another user of the engine."""

    engine: Engine
    prepare: Callable[[Behaviour], None]
    hand: Hand

    def build(
        self,
        *,
        behaviour: str = "",
        dockerfile: str | None = None,
        tag: str = "1",
        app: str = "web",
    ) -> str:
        spec = BuildSpec(
            tag=tag_of(tag, app=app, identity=IDENTITY),
            dockerfile="Dockerfile",
            labels=labels(IDENTITY, app),
            cache_key=IDENTITY,
            deadline_s=60,
        )
        tree = MemoryTree(app_files("one", behaviour=behaviour, dockerfile=dockerfile))
        return self.engine.build(spec, tree, log=_ignore, stop=StopSignal())

    def spec(self, image: str, *, deployment: int = 7) -> ContainerSpec:
        network = f"keystone-{IDENTITY}-web"
        self.engine.ensure_network(network, labels(IDENTITY, "web"))
        return ContainerSpec(
            name=container_name(IDENTITY, "web", deployment),
            image=image,
            network=network,
            labels=labels(IDENTITY, "web", deployment),
            settings=ContainerSettings(container_port=8100, memory_mb=64),
        )


def heard_while(engine: Engine, change: Callable[[], object]) -> set[str]:
    """Follow an engine's changes while an act runs, until the engine reports the change."""
    heard: set[str] = set()

    def hears_something() -> bool:
        # One long call: two short calls would miss a change that happens between them.
        heard.update(islice(engine.changes(within_s=60), 1))
        return bool(heard)

    changing = threading.Timer(0.3, change)
    changing.start()
    wait_until(hears_something)
    changing.join()
    return heard


def _ignore(_line: object) -> None:
    """Ignore a log line that the test does not check."""


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=60)
    yield client
    ours = {"label": f"{IDENTITY_LABEL}={IDENTITY}"}
    for image in client.api.images(filters=ours):
        client.api.remove_image(image["Id"], force=True)
    client.close()


@pytest.fixture(params=["fake", REAL])
def bench(request: pytest.FixtureRequest) -> Iterator[EngineBench]:
    if request.param == "fake":
        fake = FakeEngine(IDENTITY)
        prepare = partial(setattr, fake, "behaviour")
        yield EngineBench(fake, prepare, FakeHand(fake))
        return
    client: docker.DockerClient = request.getfixturevalue("client")
    engine = DockerEngine(client, IDENTITY)
    hand = RealHand(client)
    yield EngineBench(engine, lambda _behaviour: None, hand)
    hand.clear_away()
    for container in engine.containers():
        engine.stop(container.id, grace_s=0)
    engine.remove_network(f"keystone-{IDENTITY}-web")


class TestEngine:
    def test_an_image_is_found_by_its_tag_and_its_id(self, bench: EngineBench) -> None:
        image_id = bench.build()
        tag = tag_of("1", identity=IDENTITY)
        assert image_id.startswith("sha256:")
        assert bench.engine.image_id(tag) == bench.engine.image_id(image_id) == image_id
        assert bench.engine.image_id(f"{tag}-none") is None
        (image,) = [image for image in bench.engine.images() if image.id == image_id]
        assert tag in image.tags
        assert image.labels[IDENTITY_LABEL] == IDENTITY

    @pytest.mark.parametrize(
        ("lines", "ports"),
        [
            ("", []),
            ("EXPOSE 3000", [3000]),
            ("EXPOSE 443 80/tcp\nEXPOSE 53/udp", [80, 443]),
        ],
    )
    def test_the_exposed_tcp_ports_are_given(
        self, bench: EngineBench, lines: str, ports: list[int]
    ) -> None:
        image = bench.build(dockerfile=f"FROM scratch\nCOPY web /web\n{lines}\n")
        assert bench.engine.exposed_ports(image) == ports
        assert bench.engine.exposed_ports(tag_of("none", identity=IDENTITY)) == []

    def test_apps_of_the_same_content_have_images_of_their_own(self, bench: EngineBench) -> None:
        assert bench.build() != bench.build(app="api")

    def test_without_a_dockerfile_nothing_is_built(self, bench: EngineBench) -> None:
        spec = BuildSpec(tag=tag_of("none", identity=IDENTITY), dockerfile="Dockerfile")
        with pytest.raises(BuildError, match="Dockerfile"):
            bench.engine.build(spec, MemoryTree({"other": "x"}), log=_ignore, stop=StopSignal())
        assert bench.engine.image_id(spec.tag) is None

    def test_a_build_that_was_stopped_before_it_began(self, bench: EngineBench) -> None:
        stop = StopSignal()
        stop.set(CancelledError("cancelled by user:ada"))
        spec = BuildSpec(tag=tag_of("none", identity=IDENTITY), dockerfile="Dockerfile")
        with pytest.raises(CancelledError):
            bench.engine.build(spec, MemoryTree(app_files("one")), log=_ignore, stop=stop)

    def test_a_container_runs_and_is_listed(self, bench: EngineBench) -> None:
        started = bench.engine.start(bench.spec(bench.build()))
        assert started.state is ContainerState.RUNNING
        assert started.ip.startswith("10.201.")
        assert bench.engine.inspect(started.id).state is ContainerState.RUNNING
        (listed,) = bench.engine.containers()
        assert (listed.id, listed.ip, listed.name) == (started.id, started.ip, started.name)
        assert listed.labels["keystone.deployment"] == "7"

    def test_two_containers_have_different_addresses(self, bench: EngineBench) -> None:
        image = bench.build()
        one = bench.engine.start(bench.spec(image))
        two = bench.engine.start(bench.spec(image, deployment=8))
        assert one.ip != two.ip
        assert {found.id for found in bench.engine.containers()} == {one.id, two.id}

    def test_a_name_that_is_taken_is_refused(self, bench: EngineBench) -> None:
        spec = bench.spec(bench.build())
        first = bench.engine.start(spec)
        with pytest.raises(DockerError, match="is already in use"):
            bench.engine.start(spec)
        assert [found.id for found in bench.engine.containers()] == [first.id]

    def test_an_exited_container_has_its_exit_code_and_last_output(
        self, bench: EngineBench
    ) -> None:
        bench.prepare(Behaviour(exits=3, output=("exits 3",)))
        started = bench.engine.start(bench.spec(bench.build(behaviour="exit 3", tag="exits")))
        wait_until(lambda: bench.engine.inspect(started.id).state is ContainerState.EXITED)
        found = bench.engine.inspect(started.id)
        assert (found.exit_code, str(found)) == (3, "exited with code 3")
        assert bench.engine.output(started.id, tail=0) == []
        assert len(bench.engine.output(started.id, tail=1)) == 1
        assert "3" in bench.engine.output(started.id, tail=1)[0].text

    def test_an_image_that_cannot_be_run_leaves_nothing_behind(self, bench: EngineBench) -> None:
        bench.prepare(Behaviour(cannot_run=True))
        spec = bench.spec(bench.build(dockerfile="FROM scratch\nCOPY web /\n", tag="no-command"))
        with pytest.raises(StartError):
            bench.engine.start(spec)
        assert bench.engine.containers() == []

    def test_a_container_without_its_image_or_network_does_not_start(
        self, bench: EngineBench
    ) -> None:
        spec = bench.spec(bench.build())
        for broken in (
            replace(spec, image=tag_of("none", identity=IDENTITY)),
            replace(spec, network=f"keystone-{IDENTITY}-none"),
        ):
            with pytest.raises(DockerError):
                bench.engine.start(broken)
        assert bench.engine.containers() == []

    def test_stopping_removes_a_container_and_may_be_repeated(self, bench: EngineBench) -> None:
        started = bench.engine.start(bench.spec(bench.build()))
        bench.engine.keep_running(started.id)
        for _ in range(2):
            bench.engine.stop(started.id, grace_s=0)
        assert bench.engine.containers() == []
        assert bench.engine.inspect(started.id).state is ContainerState.MISSING
        assert bench.engine.output(started.id, tail=5) == []
        bench.engine.keep_running(started.id)

    def test_a_halted_container_stays_and_can_be_started_again(self, bench: EngineBench) -> None:
        started = bench.engine.start(bench.spec(bench.build()))
        bench.engine.keep_running(started.id)
        for _ in range(2):
            bench.engine.halt(started.id, grace_s=0)
        halted = bench.engine.inspect(started.id)
        assert (halted.state, halted.restart) == (ContainerState.EXITED, "no")
        for _ in range(2):  # a running container stays as it is
            again = bench.engine.start_again(started.id)
            assert again is not None
            assert (again.id, again.ip, again.state) == (
                started.id,
                started.ip,
                ContainerState.RUNNING,
            )
            assert (again.restart, again.restarts) == ("no", 0)
        bench.engine.stop(started.id, grace_s=0)
        assert bench.engine.start_again(started.id) is None
        bench.engine.halt(started.id, grace_s=0)

    def test_changes_of_a_container_are_reported_at_once(self, bench: EngineBench) -> None:
        spec = bench.spec(bench.build())
        heard = heard_while(bench.engine, lambda: bench.engine.start(spec))
        (ours,) = bench.engine.containers()
        assert heard == {ours.id}
        assert list(bench.engine.changes(within_s=0.2)) == []
        heard = heard_while(bench.engine, lambda: bench.engine.stop(ours.id, grace_s=0))
        assert heard == {ours.id}

    def test_an_image_in_use_stays_and_an_extra_tag_is_removed(self, bench: EngineBench) -> None:
        image_id = bench.build(tag="used")
        bench.build(tag="spare")
        started = bench.engine.start(bench.spec(image_id))
        bench.engine.remove_image(tag_of("spare", identity=IDENTITY))
        bench.engine.remove_image(tag_of("spare", identity=IDENTITY))
        assert bench.engine.image_id(tag_of("spare", identity=IDENTITY)) is None
        assert bench.engine.image_id(image_id) == image_id
        bench.engine.stop(started.id, grace_s=0)

    @pytest.mark.parametrize(
        ("pattern", "number"), [("by-hand-{}", None), ("by-hand-{}", 9), ("keystone-{}-web-9", 8)]
    )
    def test_a_container_with_our_labels_and_another_name_is_not_ours(
        self, bench: EngineBench, pattern: str, number: int | None
    ) -> None:
        name, image = pattern.format(IDENTITY), bench.build()
        ours = bench.engine.start(bench.spec(image))
        foreign = bench.hand.run(image, name, labels(IDENTITY, "web", number))
        assert [found.id for found in bench.engine.containers()] == [ours.id]
        for reference in (foreign, name):
            assert bench.engine.inspect(reference).state is ContainerState.MISSING
            bench.engine.stop(reference, grace_s=0)
        assert bench.hand.is_running(foreign)

    def test_the_tags_of_others_are_neither_listed_nor_removed(self, bench: EngineBench) -> None:
        image, own = bench.build(tag="own", behaviour="late 2"), tag_of("own", identity=IDENTITY)
        theirs = {f"by-hand-{IDENTITY}:1", f"keystone-{IDENTITY}/web:keep"}
        for tag in theirs:
            bench.hand.tag(image, tag)
        (found,) = [each for each in bench.engine.images() if each.id == image]
        assert found.tags == (own,)
        for reference in (*theirs, image, own):
            bench.engine.remove_image(reference)
        assert bench.hand.tags(image) == theirs
        assert image not in {each.id for each in bench.engine.images()}

    def test_an_image_without_any_tag_is_listed_and_removed_by_its_id(
        self, bench: EngineBench
    ) -> None:
        first = bench.build(tag="moved", behaviour="late 3")
        second = bench.build(tag="moved", behaviour="late 4")
        (found,) = [each for each in bench.engine.images() if each.id == first]
        assert found.tags == ()
        for image in (first, second):
            bench.engine.remove_image(image)
        assert bench.engine.image_id(first) is None
        assert bench.engine.image_id(second) == second

    def test_networks_can_be_made_and_removed_repeatedly(self, bench: EngineBench) -> None:
        name = f"keystone-{IDENTITY}-web"
        for _ in range(2):
            bench.engine.ensure_network(name, labels(IDENTITY, "web"))
        assert bench.engine.networks() == [labels(IDENTITY, "web")]
        for _ in range(2):
            bench.engine.remove_network(name)
        assert bench.engine.networks() == []
