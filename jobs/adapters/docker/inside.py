"""Looks into a container to explain why it is unhealthy; nothing runs in it.

The sockets that listen are read from the kernel's view of a process of the container, which any
user of this machine may read. An engine that runs elsewhere, or in another PID namespace, numbers
its processes differently: so the view counts only if it has the container's own address.
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from docker.api.client import APIClient
from docker.errors import DockerException
from docker.transport import UnixHTTPAdapter

from jobs.adapters.docker import values
from jobs.rules.container_values import Insides, UnwritableVolume
from jobs.rules.listeners import LISTENING, Listener, parse_listeners

# Bytes; a container may hold thousands of sockets, and root in it may have many addresses.
LONGEST_TABLE = 128 * 1024
LONGEST_PASSWD = 64 * 1024
MOST_VOLUMES = 30  # an image may name thousands
BLOCK = 512  # of a tar archive
TIMEOUT_S = 10.0
ROOT = frozenset({"", "0", "root"})
# The image writes its own /etc/passwd: Python refuses to convert a number of thousands of digits.
_ID = re.compile(r"[0-9]{1,10}")
WRITABLE_BY_ALL, WRITABLE_BY_GROUP = 0o002, 0o020


def look_inside(api: APIClient, attributes: Mapping[str, Any]) -> Insides:
    """Describe a container from inside, as far as the engine and the kernel tell.

    Args:
        attributes: the engine's description of it.
    """
    listeners: list[Listener] | None = None
    if isinstance(api.get_adapter(api.base_url), UnixHTTPAdapter):
        address = values.read_container(attributes).ip
        listeners = _listeners(Path("/proc", str(attributes["State"]["Pid"]), "net"), address)
    return Insides(
        listeners=None if listeners is None else tuple(listeners),
        exposed=tuple(values.exposed_ports(attributes)),
        unwritable=tuple(_unwritable(api, attributes)),
    )


def _listeners(view: Path, address: str) -> list[Listener] | None:
    """Read a network namespace; None when it is not the one that has the address."""
    try:
        found = [each for name in ("tcp", "tcp6") for each in parse_listeners(_table(view / name))]
        # Afterwards: the process may have ended meanwhile, and its number may be another's.
        return found if address and _has(view, address) else None
    except (OSError, ValueError):
        return None


def _table(path: Path) -> bytes:
    """Read a table of sockets.

    Raises:
        ValueError: it holds more listening sockets than are read, so one that is missing may exist.
    """
    try:
        with path.open("rb") as file:
            read = file.read(LONGEST_TABLE)
    except FileNotFoundError:  # without IPv6 there is no tcp6
        return b""
    whole = read.rpartition(b"\n")[0]
    if len(read) == LONGEST_TABLE and LISTENING in whole[whole.rfind(b"\n") :].split():
        raise ValueError("too many sockets listen")
    return whole


def _has(view: Path, address: str) -> bool:
    with (view / "fib_trie").open("rb") as file:
        routes = file.read(LONGEST_TABLE)
    local = rb"\|-- " + re.escape(address.encode()) + rb"\n\s+/32 host LOCAL"
    return re.search(local, routes) is not None


def _unwritable(api: APIClient, attributes: Mapping[str, Any]) -> Iterator[UnwritableVolume]:
    """Give the volumes whose owner and mode keep the container's user from writing."""
    user = str(attributes["Config"].get("User") or "")
    mounts = attributes.get("Mounts") or []
    volumes = [each for each in mounts if each.get("Type") == "volume"][:MOST_VOLUMES]
    if not volumes or user.partition(":")[0] in ROOT:
        return
    uid, gid = _ids(api, attributes["Id"], user)
    for mount in volumes:
        path = str(mount["Destination"])
        folder, _ = _archived(api, attributes["Id"], path)
        if folder is not None and not _may_write(folder, uid, gid):
            yield UnwritableVolume(path, user, folder.uid)


def _may_write(folder: tarfile.TarInfo, uid: int | None, gid: int | None) -> bool:
    if folder.mode & WRITABLE_BY_ALL or uid in {folder.uid, 0}:
        return True
    is_groups = folder.gid == gid or (gid is None and folder.gid != 0)
    # A name whose number is not known may be any user, except root.
    return (uid is None and folder.uid != 0) or bool(folder.mode & WRITABLE_BY_GROUP and is_groups)


def _ids(api: APIClient, container_id: str, user: str) -> tuple[int | None, int | None]:
    """Give the numbers of a container's user and group; None for those that are not known."""
    name, _, group = user.partition(":")
    uid = int(name) if _ID.fullmatch(name) else None
    gid = int(group) if _ID.fullmatch(group) else None
    _, passwd = _archived(api, container_id, "/etc/passwd")
    for line in passwd.decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) > 3 and name in fields[0:3:2] and all(map(_ID.fullmatch, fields[2:4])):  # noqa: PLR2004
            return int(fields[2]), int(fields[3]) if not group else gid
    return uid, gid if group or uid is None else 0


def _archived(api: APIClient, container_id: str, path: str) -> tuple[tarfile.TarInfo | None, bytes]:
    """Give what a path in a container is, and the beginning of its content if it is a file."""
    url = f"{api.base_url}/v{api.api_version}/containers/{container_id}/archive"
    # Not compressed: the archive is read as it comes, and not to its end. A volume may hold much.
    plain = {"Accept-Encoding": "identity"}
    with (
        suppress(tarfile.TarError, requests.RequestException, DockerException, OSError),
        api.get(
            url, params={"path": path}, headers=plain, stream=True, timeout=TIMEOUT_S
        ) as answer,
    ):
        answer.raise_for_status()
        archive = tarfile.open(fileobj=answer.raw, mode="r|", bufsize=BLOCK)  # noqa: SIM115
        found = archive.next()
        content = archive.extractfile(found) if found is not None and found.isreg() else None
        return found, content.read(LONGEST_PASSWD) if content else b""
    return None, b""
