"""The outside world in memory: what a deployment needs, with a knob for each way it can go wrong.

The fakes keep the promises of `jobs.adapters.ports`; `tests/contract/test_fakes.py` holds them to
what the real adapters do.

    world = FakeWorld("ident")
    world.engine.behaviour = Behaviour(exits=1, output=["no such table"])
    world.engine.fail("build", DockerError("the engine is gone"))
    world.router.on("switch", lambda _: cancel_it())
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import SecretStr

from jobs.adapters.ports import (
    BuildSpec,
    Commit,
    Container,
    ContainerSpec,
    Image,
    LogLine,
    OutputLine,
    ProbeResult,
    Remote,
    Route,
    StatusPost,
    Tree,
    Usage,
)
from jobs.errors import (
    BuildError,
    CheckoutError,
    DockerError,
    GitError,
    GitHubError,
    KeystoneError,
    PortNotServedError,
    RepositoryDeniedError,
    RouterError,
    StartError,
)
from jobs.naming import IDENTITY_LABEL
from jobs.states import ContainerState, Restart
from jobs.stopping import StopSignal
from jobs.work import Tools
from tests.fakehooks import FakeHooks
from tests.trees import MemoryTree

Act = Callable[[str], object]
MOST_LINES = 5000


class Scripted:
    """Something that can be told to act up: before a call is carried out, its act is done.

    Attributes:
        journal: every call in order, as `name what`; fakes of one world share it.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.journal: list[str] = [] if journal is None else journal
        self._acts: dict[str, Act] = {}

    def on(self, call: str, act: Act) -> None:
        """Have something happen in the middle of every such call; it is told what about."""
        self._acts[call] = act

    def fail(self, call: str, error: KeystoneError) -> None:
        """Have every such call fail."""

        def act(_about: str) -> None:
            raise error

        self.on(call, act)

    def heal(self) -> None:
        """Forget every act."""
        self._acts.clear()

    def _called(self, call: str, about: object = "") -> None:
        self.journal.append(f"{call} {about}".rstrip())
        if (act := self._acts.get(call)) is not None:
            act(str(about))


# --- Source ----------------------------------------------------------------------------------


@dataclass
class FakeRepository:
    """A repository's commits and refs."""

    token: str | None = None  # what opens it; None: everybody may read
    commits: dict[str, tuple[Commit, dict[str, bytes | str]]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, bytes | str],
        *,
        message: str = "Change something",
        branch: str = "main",
    ) -> str:
        """Put a commit on a branch and give its SHA."""
        told = f"{len(self.commits)} {branch} {message} {sorted(files)}"
        sha = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = (Commit(sha, message, "Ada Lovelace <ada@example.org>"), dict(files))
        self.refs[f"refs/heads/{branch}"] = sha
        return sha


class FakeSource(Scripted):
    """Repositories by their URL.

    Knobs: `down`, the repositories' `token`, and an act for fetch, head, commit and tree.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        super().__init__(journal)
        self.repositories: dict[str, FakeRepository] = {}
        self.down = False

    def fetch(self, remote: Remote, *, ref: str, sha: str | None, stop: StopSignal) -> str:
        """Give the commit's SHA."""
        self._called("fetch", ref)
        stop.check()
        repository = self._open(remote)
        found = sha or repository.refs.get(ref) or (ref if ref in repository.commits else None)
        if found not in repository.commits:
            raise CheckoutError(f"{remote.url} has no {sha or ref}")
        return str(found)

    def head(self, remote: Remote, *, ref: str, stop: StopSignal) -> str | None:
        """Give what a ref points to, or None."""
        self._called("head", ref)
        stop.check()
        return self._open(remote).refs.get(ref)

    def commit(self, remote: Remote, sha: str) -> Commit:
        """Describe a commit."""
        self._called("commit", sha)
        return self.repositories[remote.url].commits[sha][0]

    @contextmanager
    def tree(self, remote: Remote, sha: str, *, folder: str) -> Iterator[Tree]:
        """Open the tree below a folder."""
        self._called("tree", folder)
        files = self.repositories[remote.url].commits[sha][1]
        prefix = "" if folder == "." else f"{folder.rstrip('/')}/"
        inside = {p.removeprefix(prefix): c for p, c in files.items() if p.startswith(prefix)}
        if not inside:
            raise CheckoutError(f"the commit has no folder {folder}")
        yield MemoryTree(inside)

    def _open(self, remote: Remote) -> FakeRepository:
        if self.down:
            raise GitError(f"{remote.url} cannot be reached")
        repository = self.repositories.get(remote.url)
        if repository is None:
            raise RepositoryDeniedError(f"there is no repository at {remote.url}")
        given = remote.token.get_secret_value() if remote.token else None
        if repository.token not in {None, given}:
            raise RepositoryDeniedError(f"{remote.url} refuses the token")
        return repository


# --- Engine ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Behaviour:
    """What the next container does once it is started."""

    exits: int | None = None  # ends at once with this code
    out_of_memory: bool = False
    cannot_run: bool = False  # its command is not there
    unhealthy: bool = False
    healthy_after: int = 0  # looks that go wrong before one goes well
    docker_health: str | None = None  # what the image's own health check says
    answers_through_router: bool = True
    output: tuple[str, ...] = ()


@dataclass
class FakeContainer:
    """A container with what it was made of and how it behaves."""

    about: Container
    spec: ContainerSpec
    behaviour: Behaviour
    looks: int = 0
    restart: Restart | None = None  # None: not yet told when to


class FakeEngine(Scripted):
    """A Docker Engine.

    Knobs: `down`, `behaviour`, `build_output`, `build_error` (after the output), `build_takes_s`,
    `free_bytes`, `cached_bytes`, an act for every call.

    Attributes:
        all_containers: by id, those of others included.
    """

    def __init__(self, identity: str, journal: list[str] | None = None) -> None:
        super().__init__(journal)
        self.identity = identity
        self.down = False
        self.behaviour = Behaviour()
        self.build_output: tuple[str, ...] = ("#1 COPY web /web", "#2 exporting")
        self.build_error: BuildError | None = None
        self.build_takes_s = 0.0
        self.all_containers: dict[str, FakeContainer] = {}
        self.all_images: dict[str, Image] = {}
        self.all_networks: dict[str, Mapping[str, str]] = {}  # with their labels
        self.graces: dict[str, int] = {}  # by the container's id
        self.free_bytes: int | None = None
        self.cached_bytes = 0
        self._numbers = itertools.count(1)

    def version(self) -> str:
        """Give a version."""
        self._called("version")
        return "20.10.24"

    def image_id(self, tag: str) -> str | None:
        """Give the id of an image of ours."""
        self._called("image_id", tag)
        image = self._find_image(tag)
        return image.id if image else None

    def build(self, spec: BuildSpec, tree: Tree, *, log: LogLine, stop: StopSignal) -> str:
        """Make an image whose id is the content's."""
        self._called("build", spec.tag)
        stop.wait(self.build_takes_s)
        contents = {entry.path: b"".join(tree.read(entry)) for entry in tree.entries()}
        if spec.dockerfile not in contents:
            raise BuildError(f"the commit has no {spec.dockerfile}")
        for line in self.build_output:
            log(line)
        if self.build_error is not None:
            raise self.build_error
        labels = {**spec.labels, IDENTITY_LABEL: self.identity}
        told = (sorted(contents.items()), sorted(labels.items()))
        digest = hashlib.sha256(repr(told).encode()).hexdigest()
        self._untag(spec.tag)
        image = self.all_images.get(f"sha256:{digest}", Image(f"sha256:{digest}", (), labels))
        self.all_images[image.id] = replace(image, tags=(*image.tags, spec.tag))
        return image.id

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a network."""
        self._called("ensure_network", name)
        self.all_networks.setdefault(name, labels)

    def start(self, spec: ContainerSpec) -> Container:
        """Start a container that behaves as told; one of ours of the same name makes way."""
        self._called("start", spec.name)
        image = self._find_image(spec.image)
        if image is None:
            raise DockerError(f"there is no image {spec.image}")
        if spec.network not in self.all_networks:
            raise DockerError(f"there is no network {spec.network}")
        for other in [c for c in self._ours() if c.about.name == spec.name]:
            del self.all_containers[other.about.id]
        if self.behaviour.cannot_run:
            raise StartError(f"cannot run {spec.command}: no such file")
        return self._run(spec)

    def inspect(self, container_id: str) -> Container:
        """Describe a container of ours."""
        self._called("inspect", container_id)
        found = self._find(container_id)
        return found.about if found else Container(container_id, ContainerState.MISSING)

    def output(self, container_id: str, *, tail: int) -> list[str]:
        """Give its last lines."""
        self._called("output", container_id)
        found = self._find(container_id)
        return list(found.behaviour.output[-tail:]) if found and tail > 0 else []

    def written(self, container_id: str, *, tail: int, after: str = "") -> list[OutputLine]:
        """Give its last lines, a second apart."""
        self._called("written", container_id)
        lines = self.output(container_id, tail=MOST_LINES)
        stamped = (
            OutputLine(f"2026-11-23T15:{n // 60:02}:{n % 60:02}Z", t) for n, t in enumerate(lines)
        )
        found = [line for line in stamped if line.at > after]
        return found[-tail:] if tail > 0 else []

    def keep_running(self, container_id: str, restart: Restart = Restart.ALWAYS) -> None:
        """Remember when it is to be restarted, and do it if it is time already."""
        self._called("keep_running", container_id)
        if found := self._find(container_id):
            found.restart = restart
            found.about = replace(found.about, restart=restart.value)
            if restart is Restart.ALWAYS and found.about.state is ContainerState.EXITED:
                found.about = replace(found.about, state=ContainerState.RUNNING, exit_code=None)

    def stop(self, container_id: str, *, grace_s: int) -> None:
        """End and remove it; whether it was given time to end is kept."""
        self._called("stop", container_id)
        self.graces[container_id] = grace_s
        if found := self._find(container_id):
            del self.all_containers[found.about.id]

    def containers(self) -> list[Container]:
        """List ours."""
        self._called("containers")
        return [container.about for container in self._ours()]

    def images(self) -> list[Image]:
        """List ours."""
        self._called("images")
        return [i for i in self.all_images.values() if self._is_ours(i.labels)]

    def remove_image(self, reference: str) -> None:
        """Remove a tag, or an image that nothing uses."""
        self._called("remove_image", reference)
        image = self._find_image(reference)
        if image is None or (len(image.tags) <= 1 and self._is_used(image)):
            return
        if reference in image.tags and len(image.tags) > 1:
            self._untag(reference)
        else:
            del self.all_images[image.id]

    def networks(self) -> list[Mapping[str, str]]:
        """List ours by their labels."""
        self._called("networks")
        return [labels for labels in self.all_networks.values() if self._is_ours(labels)]

    def remove_network(self, name: str) -> None:
        """Remove a network."""
        self._called("remove_network", name)
        self.all_networks.pop(name, None)

    def free_disk(self) -> int | None:
        """Give what the knob says."""
        self._called("free_disk")
        return self.free_bytes

    def usage(self) -> Usage:
        """Count what is ours; every image is a megabyte."""
        self._called("usage")
        images = len(self.images())
        return Usage(images, images * 10**6, len(self._ours()), self.cached_bytes)

    def trim_build_cache(self, keep_bytes: int) -> int:
        """Free all that is more than what is kept."""
        self._called("trim_build_cache", keep_bytes)
        freed = max(0, self.cached_bytes - keep_bytes)
        self.cached_bytes -= freed
        return freed

    # --- What tests do to it -----------------------------------------------------------------

    def crash(self, container_id: str, state: ContainerState, *, exit_code: int = 1) -> None:
        """Have a container end, be restarted over and over, or disappear."""
        found = self.all_containers[container_id]
        found.about = replace(found.about, state=state, exit_code=exit_code)
        if state is ContainerState.MISSING:
            del self.all_containers[container_id]

    def add_container(self, name: str, labels: Mapping[str, str]) -> str:
        """Have somebody else start a container, with whatever labels."""
        spec = ContainerSpec(name=name, image="", network="", port=80, labels={})
        made = self._run(spec)
        self.all_containers[made.id].about = replace(made, labels=dict(labels))
        return made.id

    def at(self, address: str) -> FakeContainer | None:
        """Find the running container that listens at an address."""
        for container in self.all_containers.values():
            if f"{container.about.ip}:{container.spec.port}" == address:
                return container if container.about.state is ContainerState.RUNNING else None
        return None

    # --- Inside ------------------------------------------------------------------------------

    def _called(self, call: str, about: object = "") -> None:
        super()._called(call, about)
        if self.down:
            raise DockerError("the Docker Engine does not answer")

    def _run(self, spec: ContainerSpec) -> Container:
        number, behaviour = next(self._numbers), self.behaviour
        has_ended = behaviour.exits is not None or behaviour.out_of_memory
        about = Container(
            id=f"{number:064x}",
            state=ContainerState.EXITED if has_ended else ContainerState.RUNNING,
            name=spec.name,
            ip=f"10.201.{number // 250}.{number % 250 + 2}",
            labels={**spec.labels, IDENTITY_LABEL: self.identity},
            exit_code=behaviour.exits,
            out_of_memory=behaviour.out_of_memory,
            health=behaviour.docker_health,
        )
        self.all_containers[about.id] = FakeContainer(about, spec, behaviour)
        return about

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(IDENTITY_LABEL) == self.identity

    def _ours(self) -> list[FakeContainer]:
        return [c for c in self.all_containers.values() if self._is_ours(c.about.labels)]

    def _find(self, reference: str) -> FakeContainer | None:
        found = (c for c in self._ours() if reference in {c.about.id, c.about.name})
        return next(found, None)

    def _find_image(self, reference: str) -> Image | None:
        ours = (i for i in self.all_images.values() if self._is_ours(i.labels))
        return next((i for i in ours if reference == i.id or reference in i.tags), None)

    def _untag(self, tag: str) -> None:
        for image in list(self.all_images.values()):
            if tag in image.tags:
                rest = tuple(each for each in image.tags if each != tag)
                self.all_images[image.id] = replace(image, tags=rest)

    def _is_used(self, image: Image) -> bool:
        return any(c.spec.image in {image.id, *image.tags} for c in self._ours())


# --- Router ----------------------------------------------------------------------------------


class FakeRouter(Scripted):
    """A router. Knobs: `down`, `flying` (what each slot still serves), an act for every call."""

    def __init__(self, ports: Collection[int], journal: list[str] | None = None) -> None:
        super().__init__(journal)
        self.ports = ports
        self.down = False
        self.flying: Counter[tuple[int, str]] = Counter()
        self.current: dict[int, Route] = {}
        self.domains: dict[str, int] = {}
        self.certificates: dict[str, SecretStr] = {}

    def version(self) -> str:
        """Give a version."""
        self._called("version")
        return "2.6.12"

    def switch(self, route: Route) -> None:
        """Send new requests there."""
        self._called("switch", f"{route.port}/{route.slot} {route.address}")
        host, _, port = route.address.rpartition(":")
        if route.slot not in {"a", "b"} or not host or not port.isdecimal():
            raise RouterError(f"{route} makes no sense")
        if route.port not in self.ports:
            raise PortNotServedError(f"the router does not listen on port {route.port}")
        self.current[route.port] = route

    def in_flight(self, port: int, slot: str) -> int:
        """Count what a slot serves; every look finds one less."""
        self._called("in_flight", f"{port}/{slot}")
        left = self.flying[port, slot]
        self.flying[port, slot] = max(0, left - 1)
        return left

    def release(self, port: int, slot: str) -> None:
        """Take a slot out of use; when it is the live one, the port answers 503."""
        self._called("release", f"{port}/{slot}")
        self.flying[port, slot] = 0
        if (route := self.current.get(port)) is not None and route.slot == slot:
            del self.current[port]

    def close(self, port: int) -> None:
        """Have the port answer 503."""
        self._called("close", port)
        self.current.pop(port, None)

    def routes(self) -> dict[int, Route]:
        """Give what leads where."""
        self._called("routes")
        return dict(self.current)

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Lead these domains to these ports."""
        self._called("serve_domains", " ".join(domains))
        self.domains = dict(domains)

    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Show these certificates."""
        self._called("serve_certificates", " ".join(certificates))
        self.certificates = dict(certificates)

    def _called(self, call: str, about: object = "") -> None:
        super()._called(call, about)
        if self.down:
            raise RouterError("the router does not answer")


# --- Probe -----------------------------------------------------------------------------------


class FakeProbe(Scripted):
    """Looks at the fake engine's containers, directly or through the fake router's ports."""

    def __init__(
        self, engine: FakeEngine, router: FakeRouter, journal: list[str] | None = None
    ) -> None:
        super().__init__(journal)
        self._engine = engine
        self._router = router

    def look(
        self,
        host: str,
        port: int,
        path: str | None,
        *,
        timeout_s: float,
        healthy: range = range(200, 400),
    ) -> ProbeResult:
        """See what the container's behaviour says: it answers with its status."""
        self._called("look", f"{host}:{port}")
        route = self._router.current.get(port)
        is_direct = host.startswith("10.201.")
        container = self._engine.at(
            f"{host}:{port}" if is_direct else route.address if route else ""
        )
        if container is None:
            return ProbeResult(healthy=False, seen="connection refused")
        behaviour = container.behaviour
        container.looks += 1
        if not is_direct and not behaviour.answers_through_router:
            return ProbeResult(healthy=False, seen=f"no answer within {timeout_s:g} s")
        is_down = container.looks <= behaviour.healthy_after or behaviour.unhealthy
        if path is None:
            seen = "connection refused" if is_down else "connected"
            return ProbeResult(healthy=not is_down, seen=seen)
        status = 503 if is_down else 200
        return ProbeResult(healthy=status in healthy, status=status, seen=f"status {status}")


# --- Forge -----------------------------------------------------------------------------------


class FakeForge(Scripted, FakeHooks):
    """GitHub's statuses and webhooks.

    Knobs: `errors` of statuses, raised one after the other; those of `FakeHooks`; an act for each
    method.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        Scripted.__init__(self, journal)
        FakeHooks.__init__(self)
        self.errors: list[GitHubError] = []
        self.posts: list[StatusPost] = []
        self.token_expires_at: datetime | None = None

    def post_status(self, post: StatusPost, token: SecretStr) -> datetime | None:
        """Keep the status."""
        with self._lock:
            self._called("post_status", f"{post.context} {post.state}")
            if self.errors:
                raise self.errors.pop(0)
            self.posts.append(post)
            self.tokens.append(token.get_secret_value())
            return self.token_expires_at


# --- All of it -------------------------------------------------------------------------------


class FakeWorld:
    """A whole outside world whose calls are written into one journal."""

    def __init__(self, identity: str, *, ports: Collection[int] = range(20000, 21000)) -> None:
        self.journal: list[str] = []
        self.engine = FakeEngine(identity, self.journal)
        self.source = FakeSource(self.journal)
        self.router = FakeRouter(ports, self.journal)
        self.probe = FakeProbe(self.engine, self.router, self.journal)
        self.forge = FakeForge(self.journal)

    @property
    def tools(self) -> Tools:
        """Give the tools of a deployment in this world."""
        return Tools(self.engine, self.source, self.router, self.probe)

    def calls(self, *names: str) -> list[str]:
        """Give the journal's calls of these names, in order."""
        return [entry for entry in self.journal if entry.partition(" ")[0] in names]
