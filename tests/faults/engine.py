"""A Docker Engine for one house, which faults kill and fill up, and the network to reach it."""

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.docker.values import subnets
from jobs.rules.naming import network_name
from tests.dockerd import PrivateEngine, private_engine

DISK_MB = 400
STARTS = 3
DOWN_S = 1.0
LIVE_RESTORE = "--live-restore"


@dataclass
class OwnEngine:
    """The engine, and the link from this machine's network to the engine's network."""

    private: PrivateEngine
    gate: str  # the address of the engine's end of the link

    @property
    def url(self) -> str:
        """The URL at which the engine listens."""
        return self.private.url

    def lead_to(self, identity: str, app: str) -> None:
        """Make the network that an app will get on the engine reachable from this machine."""
        subnet = next(subnets(network_name(identity, app)))
        _ip("route", "replace", str(subnet), "via", self.gate)

    def kill(self, *options: str) -> None:
        """Kill the engine, and start it again after one second with these options."""
        self.end()
        time.sleep(DOWN_S)
        self.start(*options)

    def end(self) -> None:
        """Kill the engine."""
        self.private.end(signal.SIGKILL)
        self.private.wait()

    def start(self, *options: str) -> None:
        """Start a killed engine with these options."""
        # Leftovers of the killed engine may make the first start fail.
        for _ in range(STARTS - 1):
            with suppress(RuntimeError):
                self.private.start(*options)
                return
        self.private.start(*options)

    @property
    def disk(self) -> Path:
        """Give a folder on the engine's disk."""
        return self.private.data_root


@contextmanager
def own_engine() -> Iterator[OwnEngine]:
    """Run an engine whose containers this machine can reach; remove all of it at the end."""
    with private_engine(disk_mb=DISK_MB) as private:
        ours = f"ks{secrets.token_hex(4)}"
        number = 4 * secrets.randbelow(64)
        block = f"10.198.{secrets.randbelow(256)}"
        inside = ["netns", "exec", private.network, "ip"]
        _ip("link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", private.network)
        try:
            _ip("address", "add", f"{block}.{number + 1}/30", "dev", ours)
            _ip("link", "set", ours, "up")
            _ip(*inside, "address", "add", f"{block}.{number + 2}/30", "dev", "eth0")
            _ip(*inside, "link", "set", "eth0", "up")
            private.end(signal.SIGTERM)
            private.wait()
            private.start(LIVE_RESTORE)
            yield OwnEngine(private, f"{block}.{number + 2}")
        finally:
            # The kernel removes the routes with the link.
            _ip("link", "delete", ours)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=60, capture_output=True)
