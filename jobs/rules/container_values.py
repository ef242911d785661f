"""Builds, containers and routes as the adapters of Docker and the router know them. Pure."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from jobs.rules.app_settings import ContainerSettings
from jobs.states import ContainerState

AS_IT_COMES = ContainerSettings()


@dataclass(frozen=True)
class Limits:
    """What a set of processes may use together; None: as much as there is."""

    memory: int | None = None  # bytes, without swap
    pids: int | None = None  # processes and threads
    cpus: float | None = None

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return any(value is not None for value in (self.memory, self.pids, self.cpus))


@dataclass(frozen=True)
class BuildSpec:
    """How to make an image of a tree."""

    tag: str
    dockerfile: str  # relative to the tree's root
    labels: Mapping[str, str] = field(default_factory=dict)
    cache_key: str = ""  # the same for builds that should reuse each other's context and caches
    target: str | None = None  # the stage to build; None: the last one
    args: Mapping[str, SecretStr] = field(default_factory=dict)
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)  # by the id in `RUN --mount`
    deadline_s: float = 1800
    limits: Limits = Limits()  # of all builds together
    cgroup: str = ""  # the control group that has these limits
    is_shared_cgroup: bool = False  # the engine runs all builds in it, without being asked


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


KILLED = 128 + signal.SIGKILL  # the exit code of what was ended by force


@dataclass(frozen=True)
class Container:
    """A container of ours as the engine describes it now.

    `state` is MISSING, with everything else empty, when there is no such container.
    """

    id: str
    state: ContainerState
    name: str = ""
    ip: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None  # of the last end
    out_of_memory: bool = False
    restarts: int = 0
    started_at: str = ""  # RFC 3339, the engine's own
    health: str | None = None  # Docker's HEALTHCHECK: starting, healthy, unhealthy
    first_health_s: float = 0.0  # from its start to the first run of that HEALTHCHECK
    restart: str = ""  # Docker's word for what happens when it ends: no, always …

    def __str__(self) -> str:
        """Say in a few words how the container is."""
        match self.state:
            case ContainerState.RUNNING:
                return "is running"
            case ContainerState.MISSING:
                return "does not exist any more"
            case ContainerState.EXITED | ContainerState.RESTARTING:
                if self.out_of_memory:
                    return "was stopped because it was out of memory"
                told = f"exited with code {self.exit_code}"
                # The engine misses why when it learns of the end before it learns of the cause.
                return f"{told}, as when out of memory" if self.exit_code == KILLED else told


# Restarts are told of a running container as long as the last one is not longer ago than this.
STEADY_AFTER_MIN = 3


def container_words(state: ContainerState | None, reason: str, restarts: int | None) -> str:
    """Say what is wrong with a live container.

    Args:
        reason: what is wrong, without a number; empty when nothing is.
        restarts: how often the engine has restarted it; None: that is no part of what is wrong.
    """
    if not reason or restarts is None:
        return reason
    is_running = state is ContainerState.RUNNING
    last = f", the last one less than {STEADY_AFTER_MIN} minutes ago" if is_running else ""
    return f"{reason} ({restarts} restarts{last})"


@dataclass(frozen=True)
class OutputLine:
    """A line a container wrote."""

    at: str  # RFC 3339 with nanoseconds, the engine's own; compares as text
    text: str


@dataclass(frozen=True)
class Image:
    """An image of ours, or one without any tag that may be."""

    id: str
    tags: tuple[str, ...]  # ours alone; it may have others
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Usage:
    """What is kept on the engine's disk; sizes in bytes."""

    images: int  # how many are ours
    image_bytes: int  # at most: what they share with each other is counted for each
    containers: int  # how many are ours, stopped ones too
    cache_bytes: int  # all of the engine's build cache, whoever made it


@dataclass(frozen=True)
class Route:
    """Where one port's traffic goes: to `slot` ("a" or "b"), which dials `address`."""

    port: int
    slot: str
    address: str  # "10.201.0.2:8000"


def other_slot(slot: str | None) -> str:
    """Give the slot of a port that does not serve when this one does; "a" when none does."""
    return "b" if slot == "a" else "a"


@dataclass(frozen=True)
class ProbeResult:
    """What one look at a container saw."""

    healthy: bool
    status: int | None = None  # the HTTP status, when there was an answer
    seen: str = ""  # "status 503", "connection refused", "no answer within 2 s"
