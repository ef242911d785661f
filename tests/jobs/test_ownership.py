"""What people make by hand of an app's image is never touched, on the real engine.

Docker hands an image's labels on to its containers and to the images that are built on it, and
`docker commit` those of a container.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import docker
import pytest
from docker.models.containers import Container as DockerContainer
from sqlmodel import select

from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.builds import Builder
from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.http_probe import HttpProbe
from jobs.demo.house import clear_engine
from jobs.deployment.work import Tools
from jobs.dispatch import dispatch
from jobs.duties.reconcile import reconcile
from jobs.records.apps import remove_app
from jobs.rules.container_values import BuildSpec, Container, ContainerSpec, ProbeResult
from jobs.rules.naming import container_name, labels, network_name, tagged_app
from jobs.rules.stopping import StopSignal
from jobs.states import DeploymentState
from jobs.storage.models import App, Deployment, now
from tests.builders import change_settings
from tests.enginebench import ignore, sweep
from tests.images import AppFiles, app_files
from tests.jobs.bench import TESTER, Bench, KilledError, push_of
from tests.trees import MemoryTree

pytestmark = pytest.mark.docker

# The app's image has a volume without a name, as the images of databases do.
DOCKERFILE = """\
FROM scratch
COPY web /web
COPY version.txt behaviour /
VOLUME /scratch
CMD ["/web"]
"""


class Believer(HttpProbe):
    """A probe that finds everything healthy: the router is not real, so nothing leads there."""

    def look(self, *_: object, **__: object) -> ProbeResult:
        """Look at nothing."""
        return ProbeResult(healthy=True)


@dataclass
class Room:
    """A Keystone on the real engine, and somebody with a Docker command line."""

    bench: Bench
    client: docker.DockerClient
    engine: DockerEngine
    app: App
    deployed: int = 0
    by_hand: dict[str, DockerContainer] = field(default_factory=dict)

    @property
    def tools(self) -> Tools:
        """The real engine in the fake world."""
        fake = self.bench.world.tools
        return Tools(self.engine, fake.source, fake.router, Believer())

    @property
    def identity(self) -> str:
        """The Keystone's name on the engine."""
        return self.bench.runtime.identity

    def push(self) -> int:
        """Push a version like no other."""
        self.deployed += 1
        files = app_files(f"version {self.deployed}", dockerfile=DOCKERFILE)
        receipt = self.bench.deliver(push_of(self.bench, self.bench.repository().commit(files)))
        return receipt.deployments[0][0].id or 0

    def run(self, deployment: int) -> Deployment:
        """Have a worker take a deployment."""
        dispatch(self.bench.runtime, self.tools, deployment, holder="worker:1")
        return self.bench.deployment(deployment)

    def deploy(self) -> Deployment:
        """Push a version and see it live."""
        done = self.run(self.push())
        assert done.state is DeploymentState.SUCCESS, done.reason
        return done

    def sweep(self) -> None:
        """Do rounds of the watcher, once the newest release has stood its trial."""
        with self.bench.writing() as session:
            for app in session.exec(select(App)).all():
                app.trial_ends_at = now()
        for _ in range(2):
            reconcile(self.bench.runtime, self.tools, self.bench.parts)

    def remove_app(self) -> None:
        """Remove the app."""
        with self.bench.writing() as session:
            remove_app(session, session.get_one(App, self.app.id), TESTER)

    def live(self) -> DockerContainer:
        """The container that serves."""
        return self.client.containers.get(self.bench.fresh(self.app).live_container_id or "")

    def start(self, name: str, image: str, **options: Any) -> DockerContainer:  # noqa: ANN401
        """Start a container as `docker run` does, and remember it."""
        made = self.client.containers.run(image, detach=True, name=name, **options)
        made.reload()
        self.by_hand[name] = made
        return made

    def names(self) -> list[str]:
        """The names of our containers as the engine tells them."""
        found = self.client.api.containers(
            all=True, filters={"label": f"keystone.identity={self.identity}"}
        )
        return sorted(each["Names"][0].lstrip("/") for each in found)

    def tags(self) -> set[str]:
        """Every tag of every image that carries our label."""
        found = self.client.api.images(filters={"label": f"keystone.identity={self.identity}"})
        tags = {tag for image in found for tag in image["RepoTags"] or []}
        return tags - {"<none>:<none>"}


@pytest.fixture
def room(bench: Bench) -> Iterator[Room]:
    client = docker.from_env(timeout=60)
    room = Room(bench, client, DockerEngine(client, bench.runtime.identity), bench.app())
    yield room
    for container in room.by_hand.values():
        container.remove(force=True, v=True)
    sweep(client, room.identity)
    client.close()


@dataclass
class Theirs:
    """All that somebody has made by hand of the app's first image."""

    room: Room
    network: str
    images: list[str]
    tags: set[str]
    volumes: list[str]

    def check(self) -> None:
        """See that all of it is still there, and still runs."""
        client = self.room.client
        for container in self.room.by_hand.values():
            container.reload()
            assert container.status == "running", container.name
        for volume in self.volumes:
            client.volumes.get(volume)
        for image in self.images:
            client.images.get(image)
        assert self.tags <= self.room.tags()
        client.networks.get(self.network)


@pytest.fixture
def theirs(room: Room) -> Theirs:
    room.deploy()
    image, hand = room.live().attrs["Image"], f"by-hand-{room.identity}"
    start_containers(room, image, hand)
    images = [image, *make_images(room, image, hand)]
    tags = {tag for tag in room.tags() if not tagged_app(room.identity, tag)}
    assert len(tags) == 5
    mounts = [container.attrs["Mounts"] for container in room.by_hand.values()]
    volumes = [mount["Name"] for (mount,) in mounts]
    found = Theirs(room, network_name(room.identity, "web"), images, tags, volumes)
    found.check()
    return found


def start_containers(room: Room, image: str, hand: str) -> None:
    """Start containers from an app's image in every way that comes to mind."""
    identity = room.identity
    room.start(f"{hand}-plain", image)
    room.start(f"{hand}-rm", image, auto_remove=True)
    room.start(f"{hand}-network", image, network=network_name(identity, "web"))
    forged = labels(identity, "web", 4711)
    room.start(f"{hand}-labels", image, labels=forged)
    room.start(container_name(identity, "web", 4711), image, labels=forged)
    renamed = room.start(f"{hand}-renamed", image, labels=labels(identity, "web", 4712))
    renamed.rename(container_name(identity, "web", 4712))
    snapshot = room.live().commit(repository=f"{hand}/snapshot", tag="1")
    assert snapshot.labels["keystone.deployment"] == "1"
    room.start(f"{hand}-committed", str(snapshot.id))


def make_images(room: Room, image: str, hand: str) -> list[str]:
    """Make images of an app's image in every way; two of them without a tag."""
    room.client.api.tag(image, f"{hand}/mine", "1")
    room.client.api.tag(image, f"keystone-{room.identity}/web", "keep")
    return [
        str(room.live().commit(changes="ENV NAMELESS=1").id),
        by_buildkit(room, f"{hand}/child:buildkit", image),
        by_classic_builder(room, f"{hand}/child:classic", image),
        by_classic_builder(room, None, image),
    ]


def by_buildkit(room: Room, tag: str, image: str) -> str:
    """Build an image on ours as `docker build` does by BuildKit."""
    parent = room.client.images.get(image).tags[0]
    api = room.client.api
    spec = BuildSpec(tag=tag, dockerfile="Dockerfile")
    tree = MemoryTree({"Dockerfile": f"FROM {parent}\nCOPY own /own\n", "own": "their own"})
    builder = Builder(engine_address(api), api.api_version)
    made = builder.build(spec, tree, log=ignore, stop=StopSignal())
    assert made is not None
    return made


def by_classic_builder(room: Room, tag: str | None, image: str) -> str:
    """Build an image on ours as `docker build` does without BuildKit."""
    text = f"FROM {image}\nENV OWN={tag}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    context.seek(0)
    made, _ = room.client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    return str(made.id)


def test_the_sweep_spares_all_foreign_objects(room: Room, theirs: Theirs) -> None:
    room.sweep()
    theirs.check()
    assert room.live().status == "running"


def test_six_deployments_spare_all_foreign_objects_and_remove_our_images(
    room: Room, theirs: Theirs
) -> None:
    with room.bench.writing() as session:
        change_settings(session.get_one(App, room.app.id), keep_releases=2)
    for _ in range(6):
        room.deploy()
        room.sweep()
    theirs.check()
    kept = [tag for tag in room.tags() if tagged_app(room.identity, tag)]
    assert len(kept) == 2
    ours = [found.name for found in room.engine.containers() if found.id == room.live().id]
    assert ours == [container_name(room.identity, "web", 7)]


def test_removing_the_app_spares_foreign_objects_and_removes_the_rest(
    room: Room, theirs: Theirs
) -> None:
    live = room.live()
    room.deploy()
    room.remove_app()
    room.sweep()
    theirs.check()
    assert live.name not in room.names()
    assert len(room.names()) == len(room.by_hand)
    assert not [tag for tag in room.tags() if tagged_app(room.identity, tag)]


def test_the_end_of_the_demo_spares_all_foreign_objects(room: Room, theirs: Theirs) -> None:
    live = room.live()
    clear_engine(room.bench.runtime, "web")
    theirs.check()
    assert live.name not in room.names()


def test_a_tag_of_an_app_that_was_given_to_an_image_of_others(room: Room) -> None:
    room.deploy()
    foreign = by_classic_builder(room, f"by-hand-{room.identity}/own:1", room.live().attrs["Image"])
    room.client.api.tag(foreign, f"keystone-{room.identity}/web", "a" * 12 + "-" + "b" * 12)
    room.sweep()
    assert room.client.images.get(foreign).tags == [f"by-hand-{room.identity}/own:1"]


def test_our_container_with_another_name_belongs_to_the_user_who_renamed_it(room: Room) -> None:
    room.deploy()
    renamed = room.live()
    room.by_hand["renamed"] = renamed
    renamed.rename(f"by-hand-{room.identity}-renamed")
    room.sweep()
    room.deploy()
    room.sweep()
    room.remove_app()
    room.sweep()
    renamed.reload()
    assert renamed.status == "running"


# --- What is ours goes as before -------------------------------------------------------------


class Dying(DockerEngine):
    """An engine whose caller is killed in the middle of making a container."""

    at = ""

    def _create(self, spec: ContainerSpec, address: str) -> DockerContainer:
        self._die_at("before it is created")
        made = super()._create(spec, address)
        self._die_at("before it is started")
        return made

    def start(self, spec: ContainerSpec) -> Container:
        """Start it, and die before anybody learns of it."""
        made = super().start(spec)
        self._die_at("before it is on record")
        return made

    def _die_at(self, moment: str) -> None:
        if self.at == moment:
            raise KilledError


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("before it is created", 0),
        ("before it is started", 1),
        ("before it is on record", 1),
    ],
)
def test_leftovers_of_a_killed_worker_are_removed(room: Room, moment: str, left: int) -> None:
    room.deploy()
    live, healthy = room.live(), room.engine
    room.engine = Dying(room.client, room.identity)
    room.engine.at = moment
    waiting = room.push()
    with pytest.raises(KilledError):
        room.run(waiting)
    room.engine = healthy
    assert len(room.names()) == 1 + left
    room.bench.expire_leases()
    room.sweep()
    assert room.names() == [live.name]
    assert room.bench.deployment(waiting).state is DeploymentState.ERROR


def test_an_image_of_ours_whose_tag_went_to_another_goes(room: Room) -> None:
    files: AppFiles = app_files("one", dockerfile=DOCKERFILE)
    room.deploy()
    image = room.client.images.get(room.live().attrs["Image"])
    (tag,) = image.tags
    spec = BuildSpec(tag, "Dockerfile", labels(room.identity, "web"))
    room.engine.build(spec, MemoryTree(files), log=ignore, stop=StopSignal())
    image.reload()
    assert image.tags == []
    room.sweep()
    room.client.images.get(str(image.id))  # the live release is made of it
    with room.bench.writing() as session:
        change_settings(session.get_one(App, room.app.id), keep_releases=1)
    for _ in range(2):
        room.deploy()
        room.sweep()
    with pytest.raises(docker.errors.ImageNotFound):
        room.client.images.get(str(image.id))


def test_another_app_cannot_name_the_image(room: Room) -> None:
    """The tag that the API and the log show is not the one that the engine knows."""
    done = room.deploy()
    shown = f"keystone-{room.identity}/web:{done.commit_sha[:12]}-"
    assert f"image {shown}" in room.bench.log(done.id or 0)
    (tag,) = room.client.images.get(room.live().attrs["Image"]).tags
    seal = tag.partition(":")[0].rpartition("/")[2]
    assert len(seal) == 32
    assert seal not in room.bench.log(done.id or 0)
