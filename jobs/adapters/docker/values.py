"""Translates the Docker Engine's JSON into Keystone's values, and our settings into it. Pure."""

import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jobs.adapters.buildkit.failures import DISK_FULL, NO_SPACE
from jobs.errors import StartError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, ContainerSpec, Image
from jobs.rules.naming import IDENTITY_LABEL, owns_container, tagged_app
from jobs.rules.reasons import quoted
from jobs.states import Capabilities, ContainerState, Restart
from jobs.system.out_of_memory import FIRST

# Capabilities that programs need which start as root, prepare files and then switch the user.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
LOG_LIMITS = {"max-size": "10m", "max-file": "3"}  # strings: the engine refuses numbers
# Docker's own address pools are exhausted after 30 networks; a /28 holds 13 containers.
NETWORKS = ipaddress.IPv4Network("10.201.0.0/16")
NETWORK_PREFIX = 28
MOST_SUBNET_TRIES = 256
PODMANS = "localhost/"  # prefix of the tags of all images that Podman has built
HEALTHCHECK_INTERVAL_S = 30.0  # Docker's default when the image specifies none

# A builder may leave out the protocol, which is TCP then.
_TCP_PORT = re.compile(r"([1-9][0-9]{0,4})(?:/tcp)?")
_EXEC = re.compile(r"exec: (.+?)(?:: unknown)?$", re.DOTALL)


def read_container(attributes: Mapping[str, Any]) -> Container:
    """Turn the engine's description of a container into ours."""
    state = attributes["State"]
    kind = _state(state)
    return Container(
        id=attributes["Id"],
        state=kind,
        name=attributes["Name"].lstrip("/"),
        ip=next(_addresses(attributes), ""),
        labels=attributes["Config"]["Labels"] or {},
        exit_code=None if kind is ContainerState.RUNNING else state["ExitCode"],
        out_of_memory=state["OOMKilled"],
        restarts=attributes["RestartCount"],
        started_at=state["StartedAt"],
        health=state.get("Health", {}).get("Status"),
        first_health_s=_first_health(attributes["Config"]),
        restart=attributes["HostConfig"]["RestartPolicy"]["Name"],
    )


def read_image(attributes: Mapping[str, Any], identity: str) -> Image | None:
    """Turn an entry of the engine's image list into ours; None when the image is not ours.

    An image with only foreign tags is not ours: whoever set these tags needs it.
    """
    named = (tag for tag in attributes["RepoTags"] or [] if tag != "<none>:<none>")
    tags = [tag.removeprefix(PODMANS) for tag in named]
    ours = tuple(tag for tag in tags if tagged_app(identity, tag))
    if tags and not ours:
        return None
    return Image(attributes["Id"], ours, attributes["Labels"] or {})


def exposed_ports(attributes: Mapping[str, Any]) -> list[int]:
    """Give the TCP ports that an image EXPOSEs, in ascending order."""
    exposed = (attributes.get("Config") or {}).get("ExposedPorts") or {}
    return sorted({int(found[1]) for name in exposed if (found := _TCP_PORT.fullmatch(name))})


def is_our_image(attributes: Mapping[str, Any], identity: str) -> bool:
    """Whether an entry of the engine's image list is an image of this Keystone with a tag."""
    image = read_image(attributes, identity)
    return image is not None and image.labels.get(IDENTITY_LABEL) == identity and bool(image.tags)


def is_our_container(attributes: Mapping[str, Any], identity: str) -> bool:
    """Whether an entry of the engine's container list is a container of this Keystone."""
    labels = attributes["Labels"] or {}
    names = (name.lstrip("/") for name in attributes["Names"])
    return any(owns_container(identity, name, labels) for name in names)


def owned_by(identity: str) -> dict[str, Any]:
    """Give the engine's filter for everything that this Keystone has made."""
    return {"label": f"{IDENTITY_LABEL}={identity}"}


def address_on(attributes: Mapping[str, Any], network: str) -> str:
    """Give a container's current or reserved address on a network; "" when there is none."""
    endpoint = _networks(attributes).get(network)
    return _address(endpoint) if endpoint else ""


def create_options(spec: ContainerSpec) -> dict[str, Any]:
    """Give the engine's options for a container: its settings, and fixed security options.

    This function implements the container settings. The restart policy is "no", because Keystone
    must notice when a release dies.

    Raises:
        StartError: a variable has an invalid name.
    """
    wanted = spec.settings
    return {
        **_limits(wanted),
        "command": None if wanted.command is None else list(wanted.command),
        "environment": environment(spec),
        # None is the image's own word, here and for the command.
        "stop_signal": wanted.stop_signal,
        # The kernel kills apps before Keystone and the engine, without which no app could restart.
        "oom_score_adj": FIRST,
        "cap_drop": ["ALL"],
        "cap_add": list(CAPABILITIES) if wanted.capabilities is Capabilities.DEFAULT else [],
        "security_opt": [] if wanted.new_privileges else ["no-new-privileges"],
        # Without an init, a program that ignores SIGTERM as PID 1 uses the whole grace period.
        "init": wanted.init,
        "restart_policy": {"Name": "no"},
        # Named volumes only, never paths of the host.
        "volumes": [f"{name}:{path}" for path, name in spec.volumes.items()],
    }


def _limits(wanted: ContainerSettings) -> dict[str, Any]:
    memory = f"{wanted.memory_mb}m"
    limits: dict[str, Any] = {
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": wanted.pids,
        "ulimits": [_ulimit(each) for each in wanted.ulimits],
    }
    if wanted.cpus is not None:
        limits["nano_cpus"] = round(wanted.cpus * 10**9)
    if wanted.shm_size_mb is not None:
        limits["shm_size"] = f"{wanted.shm_size_mb}m"
    return limits


def _ulimit(text: str) -> dict[str, Any]:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def environment(spec: ContainerSpec) -> dict[str, str]:
    """Give a container's variables in plain text; PORT is always the port that is probed.

    Raises:
        StartError: a variable has an invalid name; the message quotes no value.
    """
    for name in spec.environment:
        # The engine would refuse the name too, but its answer would contain the value.
        if not name or "=" in name:
            raise StartError(f"{name!r} cannot be the name of an environment variable")
    given = {name: value.get_secret_value() for name, value in spec.environment.items()}
    return {**given, "PORT": str(spec.settings.port)}


def is_to_run(attributes: Mapping[str, Any], restart: Restart) -> bool:
    """Whether the container has ended and this policy would have restarted it."""
    state = attributes["State"]
    if state["Status"] != "exited" or restart is Restart.NEVER:
        return False
    return restart is Restart.ALWAYS or state["ExitCode"] != 0


def subnets(name: str) -> Iterator[ipaddress.IPv4Network]:
    """Give the subnets to try for a network; always the same ones for the same name."""
    size = 2 ** (NETWORKS.max_prefixlen - NETWORK_PREFIX)
    places = NETWORKS.num_addresses // size
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for offset in range(MOST_SUBNET_TRIES):
        start = NETWORKS[(first + offset) % places * size]
        yield ipaddress.IPv4Network((start, NETWORK_PREFIX))


def mac_of(address: str) -> str:
    """Give the hardware address of the container with an IPv4 address, as Docker made it up to 27.

    Were it random, the machine would send to the one of an ended container for a while.
    """
    return ":".join(f"{byte:02x}" for byte in (2, 0x42, *ipaddress.IPv4Address(address).packed))


def free_addresses(
    subnet: ipaddress.IPv4Network, taken: Collection[str], *, turn: int = 0
) -> Iterator[str]:
    """Give the unused addresses of a subnet, without the first one, which is the gateway's.

    Args:
        turn: a number that grows from container to container; each begins at another address, so
            that the address of an ended container is used again as late as possible.
    """
    _gateway, *hosts = subnet.hosts()
    begin = turn % len(hosts)
    return (str(host) for host in (*hosts[begin:], *hosts[:begin]) if str(host) not in taken)


def is_apps_fault(explanation: str) -> bool:
    """Whether the image's content prevented the container's start.

    The engine uses the same status code for its own failures: only the message differs.
    """
    return explanation.startswith(("unable to find user ", "unable to find group "))


def refusal(explanation: str) -> str:
    """Describe in a sentence why the engine refused or failed a request."""
    return DISK_FULL if NO_SPACE in explanation else f"the Docker Engine refused: {explanation}"


def start_reason(explanation: str) -> str:
    """Extract the reason from the engine's message that a container cannot be started.

    The reason is not truncated here: it may quote the app's command, and a later step must still
    recognise the secrets in it to mask them.
    """
    found = _EXEC.search(explanation.strip())
    reason = f"cannot run {found[1]}" if found else explanation
    return quoted(reason)


def _state(state: Mapping[str, Any]) -> ContainerState:
    # The engine reports a container that waits for its next restart as running and restarting.
    if state["Restarting"]:
        return ContainerState.RESTARTING
    return ContainerState.RUNNING if state["Running"] else ContainerState.EXITED


def _first_health(config: Mapping[str, Any]) -> float:
    nanoseconds = (config.get("Healthcheck") or {}).get("Interval", 0)
    return nanoseconds / 10**9 or HEALTHCHECK_INTERVAL_S


def _addresses(attributes: Mapping[str, Any]) -> Iterator[str]:
    return filter(None, map(_address, _networks(attributes).values()))


def _networks(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a container's networks by name; a list leaves out what a removed container has."""
    networks: Mapping[str, Any] = (attributes.get("NetworkSettings") or {}).get("Networks") or {}
    return networks


def _address(endpoint: Mapping[str, Any]) -> str:
    """Give an endpoint's address; a stopped container has only a reserved one."""
    promised = (endpoint.get("IPAMConfig") or {}).get("IPv4Address", "")
    return str(endpoint.get("IPAddress") or promised)
