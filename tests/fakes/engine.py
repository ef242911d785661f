"""An in-memory Docker Engine whose containers behave as the test sets."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from jobs.adapters.ports import BuildLog, Tree
from jobs.errors import BuildError, DockerError, StartError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import (
    BuildSpec,
    Container,
    ContainerSpec,
    Image,
    Insides,
    OutputLine,
    Usage,
)
from jobs.rules.log_events import BuildEvent
from jobs.rules.naming import IDENTITY_LABEL, owns_container, owns_network, tagged_app
from jobs.rules.stopping import StopSignal
from jobs.states import ContainerState, Restart
from tests.build_events import named
from tests.fakes.scripted import Scripted

MOST_LINES = 5000
NO_INSIDES = Insides()
EXPOSE = re.compile(r"^EXPOSE (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Behaviour:
    """How the next container behaves after its start."""

    exits: int | None = None  # exits at once with this code
    out_of_memory: bool = False
    cannot_run: bool = False  # its command does not exist
    unhealthy: bool = False
    healthy_after: int = 0  # probes that fail before the first one succeeds
    docker_health: str | None = None  # the result of the image's own health check
    first_health_s: float = 0.0  # seconds until the image's health check first runs
    answers_through_router: bool = True
    insides: Insides = NO_INSIDES
    says: str = ""  # the first line of its unhealthy answers
    allows_host: str = ""  # answers other hosts with 400
    insists_on_https: bool = False  # sends visitors by HTTP to HTTPS
    output: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()  # the lines of its output that are on standard error


@dataclass
class FakeContainer:
    """A container, the specification it was created from, and its behaviour."""

    about: Container
    spec: ContainerSpec
    behaviour: Behaviour
    looks: int = 0
    restart: Restart | None = None  # None: no restart policy set yet


class FakeEngine(Scripted):
    """A Docker Engine.

    Tests can set `down`, `behaviour`, `build_output`, `build_error` (raised after the output),
    `build_takes_s`, `free_bytes`, `cached_bytes`, and an act for every call.

    Attributes:
        all_containers: all containers by id, including those that are not Keystone's.
    """

    def __init__(self, identity: str, journal: list[str] | None = None) -> None:
        super().__init__(journal)
        self.identity = identity
        self.down = False
        self.behaviour = Behaviour()
        self.build_output: tuple[BuildEvent, ...] = (
            named(1, "COPY web /web"),
            named(2, "exporting"),
        )
        self.build_error: BuildError | None = None
        self.build_takes_s = 0.0
        self.all_containers: dict[str, FakeContainer] = {}
        self.changed: list[str] = []  # container ids, since the last call of `changes`
        self.all_images: dict[str, Image] = {}
        self.exposed: dict[str, list[int]] = {}  # the ports that images EXPOSE, by their id
        self.all_networks: dict[str, Mapping[str, str]] = {}  # labels by network name
        self.graces: dict[str, int] = {}  # by container id
        self.free_bytes: int | None = None
        self.cached_bytes = 0
        self._numbers = itertools.count(1)

    def version(self) -> str:
        """Give a fixed version."""
        self._called("version")
        return "20.10.24"

    def image_id(self, tag: str) -> str | None:
        """Give the id of one of our images."""
        self._called("image_id", tag)
        image = self._find_image(tag)
        return image.id if image else None

    def exposed_ports(self, image_id: str) -> list[int]:
        """Give the TCP ports that the Dockerfile of one of our images EXPOSEs."""
        self._called("exposed_ports", image_id)
        image = self._find_image(image_id)
        return self.exposed.get(image.id, []) if image else []

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> str:
        """Make an image whose id is the hash of its content and labels."""
        self._called("build", spec.tag)
        stop.wait(self.build_takes_s)
        contents = {entry.path: b"".join(tree.read(entry)) for entry in tree.entries()}
        if spec.dockerfile not in contents:
            raise BuildError(f"the commit has no {spec.dockerfile}")
        for event in self.build_output:
            log(event)
        if self.build_error is not None:
            raise self.build_error
        labels = {**spec.labels, IDENTITY_LABEL: self.identity}
        told = (sorted(contents.items()), sorted(labels.items()))
        digest = hashlib.sha256(repr(told).encode()).hexdigest()
        self._untag(spec.tag)
        image = self.all_images.get(f"sha256:{digest}", Image(f"sha256:{digest}", (), labels))
        self.all_images[image.id] = replace(image, tags=(*image.tags, spec.tag))
        self.exposed[image.id] = _exposed(contents[spec.dockerfile].decode())
        return image.id

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a network unless it exists."""
        self._called("ensure_network", name)
        self.all_networks.setdefault(name, labels)

    def start(self, spec: ContainerSpec) -> Container:
        """Start a container with the set behaviour, unless its name is in use."""
        self._called("start", spec.name)
        image = self._find_image(spec.image)
        if image is None:
            raise DockerError(f"there is no image {spec.image}")
        if spec.network not in self.all_networks:
            raise DockerError(f"there is no network {spec.network}")
        if spec.name in {other.about.name for other in self.all_containers.values()}:
            raise DockerError(f"the Docker Engine refused: the name {spec.name} is already in use")
        if self.behaviour.cannot_run:
            raise StartError(f"cannot run {spec.settings.command}: no such file")
        return self._run(spec, {**spec.labels, IDENTITY_LABEL: self.identity})

    def inspect(self, container_id: str) -> Container:
        """Describe one of our containers."""
        self._called("inspect", container_id)
        found = self._find(container_id)
        return found.about if found else Container(container_id, ContainerState.MISSING)

    def changes(self, *, within_s: float) -> Iterator[str]:
        """Give the ids of containers that changed since the last call, without waiting."""
        self._called("changes", f"{within_s:g} s")
        while self.changed:
            yield self.changed.pop(0)

    def output(self, container_id: str, *, tail: int, after: str = "") -> list[OutputLine]:
        """Give the last lines of a container's output, with times one second apart."""
        self._called("output", container_id)
        container = self._find(container_id)
        behaviour = container.behaviour if container else Behaviour()
        found = [
            OutputLine(f"2026-11-23T15:{n // 60:02}:{n % 60:02}Z", text, text in behaviour.errors)
            for n, text in enumerate(behaviour.output[-MOST_LINES:])
        ]
        return [line for line in found if line.at > after][-tail:] if tail > 0 else []

    def insides(self, container_id: str) -> Insides:
        """Give what the container's behaviour defines, and the ports that its image EXPOSEs."""
        self._called("insides", container_id)
        found = self._find(container_id)
        if found is None:
            return Insides()
        exposed = tuple(self.exposed.get(found.spec.image, []))
        return replace(found.behaviour.insides, exposed=exposed)

    def keep_running(self, container_id: str, restart: Restart = Restart.ALWAYS) -> None:
        """Set a container's restart policy; with ALWAYS, restart it if it has exited."""
        self._called("keep_running", container_id)
        if found := self._find(container_id):
            found.restart = restart
            found.about = replace(found.about, restart=restart.value)
            if restart is Restart.ALWAYS and found.about.state is ContainerState.EXITED:
                found.about = replace(found.about, state=ContainerState.RUNNING, exit_code=None)

    def stop(self, container_id: str, *, grace_s: int) -> None:
        """Stop and remove a container, and record the grace period in `graces`."""
        self._called("stop", container_id)
        self.graces[container_id] = grace_s
        if found := self._find(container_id):
            self._note_change(found.about)
            del self.all_containers[found.about.id]

    def halt(self, container_id: str, *, grace_s: int) -> None:
        """Stop a container without removing it."""
        self._called("halt", container_id)
        self.graces[container_id] = grace_s
        if found := self._find(container_id):
            found.restart = Restart.NEVER
            found.about = replace(
                found.about, state=ContainerState.EXITED, exit_code=0, restart=Restart.NEVER
            )
            self.changed.append(found.about.id)

    def start_again(self, container_id: str) -> Container | None:
        """Start a halted container."""
        self._called("start_again", container_id)
        found = self._find(container_id)
        if found is None:
            return None
        if found.behaviour.cannot_run:
            raise StartError(f"cannot run {found.spec.settings.command}: no such file")
        found.about = replace(found.about, state=ContainerState.RUNNING, exit_code=None, restarts=0)
        return found.about

    def containers(self) -> list[Container]:
        """List our containers."""
        self._called("containers")
        return [container.about for container in self._ours()]

    def images(self) -> list[Image]:
        """List the images with our label that have one of our tags, or no tag at all."""
        self._called("images")
        listed = (self._listed(image) for image in self.all_images.values())
        return [image for image in listed if image is not None]

    def remove_image(self, reference: str) -> None:
        """Remove one of our tags, or an unused image without tags."""
        self._called("remove_image", reference)
        image = self._find_image(reference)
        if image is None or (len(image.tags) <= 1 and self._is_used(image)):
            return
        if len(image.tags) > 1 and self._tagged(reference):
            self._untag(reference)
        elif self._tagged(reference) or not image.tags:
            del self.all_images[image.id]

    def networks(self) -> list[Mapping[str, str]]:
        """List the labels of our networks."""
        self._called("networks")
        found = self.all_networks.items()
        return [labels for name, labels in found if owns_network(self.identity, name, labels)]

    def remove_network(self, name: str) -> None:
        """Remove one of our networks."""
        self._called("remove_network", name)
        if owns_network(self.identity, name, self.all_networks.get(name, {})):
            del self.all_networks[name]

    def free_disk(self) -> int | None:
        """Give `free_bytes`."""
        self._called("free_disk")
        return self.free_bytes

    def usage(self) -> Usage:
        """Count our images and containers; each image has one megabyte."""
        self._called("usage")
        images = len(self.images())
        return Usage(images, images * 10**6, len(self._ours()), self.cached_bytes)

    def trim_build_cache(self, keep_bytes: int) -> int:
        """Free the build cache beyond the size to keep."""
        self._called("trim_build_cache", keep_bytes)
        freed = max(0, self.cached_bytes - keep_bytes)
        self.cached_bytes -= freed
        return freed

    # --- For tests only ----------------------------------------------------------------------

    def crash(self, container_id: str, state: ContainerState, *, exit_code: int = 1) -> None:
        """Put a container into a state: exited, restarting or missing."""
        found = self.all_containers[container_id]
        found.about = replace(found.about, state=state, exit_code=exit_code)
        self._note_change(found.about)
        if state is ContainerState.MISSING:
            del self.all_containers[container_id]

    def add_container(self, name: str, labels: Mapping[str, str]) -> str:
        """Start a container as another user of the engine would, with any labels."""
        spec = ContainerSpec(
            name=name,
            image="",
            network="",
            labels=labels,
            settings=ContainerSettings(container_port=80),
        )
        return self._run(spec, labels).id

    def add_image(self, image_id: str, labels: Mapping[str, str], *tags: str) -> None:
        """Add an image as another user of the engine would, with any labels."""
        self.all_images[image_id] = Image(image_id, tags, labels)

    def at(self, address: str) -> FakeContainer | None:
        """Find the running container that listens at an address."""
        for container in self.all_containers.values():
            if f"{container.about.ip}:{container.spec.settings.port}" == address:
                return container if container.about.state is ContainerState.RUNNING else None
        return None

    # --- Inside ------------------------------------------------------------------------------

    def _called(self, call: str, about: object = "") -> None:
        super()._called(call, about)
        if self.down:
            raise DockerError("the Docker Engine does not answer")

    def _run(self, spec: ContainerSpec, labels: Mapping[str, str]) -> Container:
        number, behaviour = next(self._numbers), self.behaviour
        has_ended = behaviour.exits is not None or behaviour.out_of_memory
        about = Container(
            id=f"{number:064x}",
            state=ContainerState.EXITED if has_ended else ContainerState.RUNNING,
            name=spec.name,
            ip=f"10.201.{number // 250}.{number % 250 + 2}",
            labels=labels,
            exit_code=behaviour.exits,
            out_of_memory=behaviour.out_of_memory,
            health=behaviour.docker_health,
            first_health_s=behaviour.first_health_s,
        )
        self.all_containers[about.id] = FakeContainer(about, spec, behaviour)
        self._note_change(about)
        return about

    def _note_change(self, about: Container) -> None:
        if self._owns(about):
            self.changed.append(about.id)

    def _owns(self, about: Container) -> bool:
        return owns_container(self.identity, about.name, about.labels)

    def _ours(self) -> list[FakeContainer]:
        return [c for c in self.all_containers.values() if self._owns(c.about)]

    def _find(self, reference: str) -> FakeContainer | None:
        found = (c for c in self._ours() if reference in {c.about.id, c.about.name})
        return next(found, None)

    def _find_image(self, reference: str) -> Image | None:
        images = self.all_images.values()
        ours = (i for i in images if i.labels.get(IDENTITY_LABEL) == self.identity)
        return next((i for i in ours if reference == i.id or reference in i.tags), None)

    def _listed(self, image: Image) -> Image | None:
        tags = tuple(filter(self._tagged, image.tags))
        if image.labels.get(IDENTITY_LABEL) != self.identity or (image.tags and not tags):
            return None
        return replace(image, tags=tags)

    def _tagged(self, tag: str) -> bool:
        return tagged_app(self.identity, tag) is not None

    def _untag(self, tag: str) -> None:
        for image in list(self.all_images.values()):
            if tag in image.tags:
                rest = tuple(each for each in image.tags if each != tag)
                self.all_images[image.id] = replace(image, tags=rest)

    def _is_used(self, image: Image) -> bool:
        used = {container.spec.image for container in self.all_containers.values()}
        return not used.isdisjoint({image.id, *image.tags})


def _exposed(dockerfile: str) -> list[int]:
    named = [name for line in EXPOSE.findall(dockerfile) for name in line.split()]
    return sorted({int(name.removesuffix("/tcp")) for name in named if not name.endswith("/udp")})
