"""The TCP ports that processes listen on, from the kernel's lists."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"  # TCP_LISTEN, in proc_net_tcp(5)


def ports_of(pids: Iterable[int]) -> frozenset[int]:
    """Give the TCP ports that these processes listen on, as far as we may know."""
    sockets = {inode for pid in pids for inode in _sockets(pid)}
    if not sockets:
        return frozenset()
    return frozenset(port for inode, port in _listening() if inode in sockets)


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115 — a thousand of them
                if target.startswith("socket:["):
                    yield target.removeprefix("socket:[").removesuffix("]")


def _listening() -> Iterator[tuple[str, int]]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state == LISTENING:
                    yield inode, int(local.rpartition(":")[2], 16)
