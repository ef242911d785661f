"""The values that the adapters of Docker and the router take and return. Pure."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from jobs.rules.app_settings import OK_OR_REDIRECT, ContainerSettings
from jobs.rules.listeners import Listener
from jobs.states import ContainerState

AS_IT_COMES = ContainerSettings()


@dataclass(frozen=True)
class Limits:
    """Resource limits for a group of processes together; None means unlimited."""

    memory: int | None = None  # bytes, without swap
    pids: int | None = None  # processes and threads
    cpus: float | None = None

    def __bool__(self) -> bool:
        """Whether any resource is limited."""
        return any(value is not None for value in (self.memory, self.pids, self.cpus))


@dataclass(frozen=True)
class BuildSpec:
    """How to build an image from a tree."""

    tag: str
    dockerfile: str  # relative to the tree's root
    labels: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."  # the tree's path in the repository, for messages
    cache_key: str = ""  # equal for builds that should share context and caches
    target: str | None = None  # the stage to build; None: the last one
    args: Mapping[str, SecretStr] = field(default_factory=dict)
    # More build arguments, but only for a Dockerfile that declares them: others keep their cache.
    offered: Mapping[str, str] = field(default_factory=dict)
    frontend: str = ""  # an image that reads a Dockerfile without `# syntax=`; "": the engine's own
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)  # by the id in `RUN --mount`
    deadline_s: float = 1800
    limits: Limits = Limits()  # of all builds together
    cgroup: str = ""  # the control group that has these limits
    is_shared_cgroup: bool = False  # the engine runs every build in it by its own configuration


@dataclass(frozen=True)
class ContainerSpec:
    """A container to be created and started."""

    name: str
    image: str
    network: str  # made by `ensure_network`
    labels: Mapping[str, str]
    settings: ContainerSettings = AS_IT_COMES
    environment: Mapping[str, SecretStr] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)  # path in the container: volume's name


KILLED = 128 + signal.SIGKILL  # the exit code of a process that SIGKILL ended


@dataclass(frozen=True)
class Container:
    """One of Keystone's containers, as the engine describes it now.

    If the container does not exist, `state` is MISSING and everything else is empty.
    """

    id: str
    state: ContainerState
    name: str = ""
    ip: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None  # of its last exit
    out_of_memory: bool = False
    restarts: int = 0
    started_at: str = ""  # RFC 3339, as the engine writes it
    health: str | None = None  # Docker's HEALTHCHECK: starting, healthy, unhealthy
    first_health_s: float = 0.0  # from its start to the first run of that HEALTHCHECK
    restart: str = ""  # Docker's restart policy: no, always …

    def __str__(self) -> str:
        """Describe the container's state in a few words."""
        match self.state:
            case ContainerState.RUNNING:
                return "is running"
            case ContainerState.MISSING:
                return "does not exist any more"
            case ContainerState.EXITED | ContainerState.RESTARTING:
                if self.out_of_memory:
                    return "was stopped because it was out of memory"
                told = f"exited with code {self.exit_code}"
                # The engine does not set the flag if the exit event reaches it before the
                # out-of-memory event.
                return f"{told}, as when out of memory" if self.exit_code == KILLED else told


# The restarts of a running container are reported if the last one is at most this long ago.
STEADY_AFTER_MIN = 3


def container_words(state: ContainerState | None, reason: str, restarts: int | None) -> str:
    """Describe the problem of a live container.

    Args:
        reason: the problem, without a number; empty if there is none.
        restarts: how often the engine has restarted it; None if restarts are not the problem.
    """
    if not reason or restarts is None:
        return reason
    is_running = state is ContainerState.RUNNING
    last = f", the last one less than {STEADY_AFTER_MIN} minutes ago" if is_running else ""
    return f"{reason} ({restarts} restarts{last})"


@dataclass(frozen=True)
class OutputLine:
    """A line a container wrote."""

    at: str  # RFC 3339 with nanoseconds, as the engine writes it; compares as text
    text: str
    is_error: bool = False  # on standard error


@dataclass(frozen=True)
class UnwritableVolume:
    """A volume whose owner and mode keep a container's user from writing to it."""

    path: str  # in the container
    user: str  # the container's, as its image names it
    owner: int  # the user id of the volume's folder


@dataclass(frozen=True)
class Insides:
    """A look into a container, to explain why it is unhealthy.

    Attributes:
        listeners: the TCP sockets in its network namespace; None: they cannot be seen from here.
        exposed: the TCP ports that its image EXPOSEs, in ascending order.
    """

    listeners: tuple[Listener, ...] | None = None
    exposed: tuple[int, ...] = ()
    unwritable: tuple[UnwritableVolume, ...] = ()


@dataclass(frozen=True)
class Image:
    """One of Keystone's images, or an untagged one that may be Keystone's."""

    id: str
    tags: tuple[str, ...]  # Keystone's only; the image may have others
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Usage:
    """The use of the engine's disk; sizes in bytes."""

    images: int  # number of Keystone's images
    image_bytes: int  # an upper bound: shared layers count once for each image
    containers: int  # number of Keystone's containers, including stopped ones
    cache_bytes: int  # the engine's whole build cache, also that of other programs


@dataclass(frozen=True)
class Route:
    """The target of one port's traffic: the router's `slot` ("a" or "b"), set to `address`."""

    port: int
    slot: str
    address: str  # "10.201.0.2:8000"


@dataclass(frozen=True)
class Warm:
    """A replaced container that the router still asks for the assets of its release.

    Attributes:
        live_slot: the router's slot of the live container, which is asked first.
        paths: the asset paths, like "/assets/*"; a request for another path never gets there.
    """

    port: int
    live_slot: str
    address: str
    paths: frozenset[str]


def other_slot(slot: str | None) -> str:
    """Give the port's other slot, the idle one; "a" if `slot` is None."""
    return "b" if slot == "a" else "a"


LOCALHOST = "localhost"


@dataclass(frozen=True)
class HealthRequest:
    """What a health check asks for, and the answers that are healthy.

    Attributes:
        path: requested by GET; None only connects.
        host: the Host header.
        is_https: whether to say, as the router does, that the visitor uses HTTPS.
    """

    path: str | None
    host: str = LOCALHOST
    is_https: bool = False
    healthy: range = OK_OR_REDIRECT


@dataclass(frozen=True)
class ProbeResult:
    """The result of one health probe of a container."""

    healthy: bool
    status: int | None = None  # the HTTP status, if there was a response
    seen: str = ""  # "status 503", "connection refused", "no answer within 2 s"
    said: str = ""  # of an unhealthy answer: the first line of its body, or its title; not masked
