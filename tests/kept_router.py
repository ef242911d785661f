"""A real HAProxy with a real keeper, without a Keystone."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.haproxy.config import configuration
from jobs.adapters.haproxy.files import CONFIGURATION, RouterFiles
from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.adapters.haproxy.runtime_api import MASTER_SOCKET
from jobs.errors import RouterError
from jobs.processes.router_control import (
    RouterState,
    router_pids,
    router_state,
    start_keeper,
    stop_keeper,
)
from jobs.processes.router_server import installed_haproxy, write_domain_files
from tests.haproxy import LOCALHOST, PLACES, free_ports

WITHIN_S = 60.0


@dataclass
class KeptRouter:
    """A router that a keeper in the background runs."""

    folder: Path
    ports: list[int]
    doors: DomainDoors
    program: str
    owner: int | None
    run_dir: Path
    policy: Policy

    @property
    def config(self) -> Path:
        return self.folder / "router" / CONFIGURATION

    @property
    def arguments(self) -> list[str]:
        return [
            *("--run", str(self.run_dir), "--config", str(self.config)),
            *("--master", str(self.run_dir / MASTER_SOCKET)),
            *("--api", str(self.run_dir / "haproxy.sock"), "--haproxy", self.program),
            *(("--owner", str(self.owner)) if self.owner else ()),
        ]

    @property
    def adapter(self) -> HAProxyRouter:
        return HAProxyRouter(
            self.run_dir / "haproxy.sock",
            master=self.run_dir / MASTER_SOCKET,
            files=self.files,
            timeout_s=60,
        )

    @property
    def files(self) -> RouterFiles:
        return RouterFiles(self.config.parent)

    @property
    def state(self) -> RouterState:
        found = router_state(self.run_dir)
        assert found is not None
        return found

    @property
    def log(self) -> str:
        return (self.run_dir / "router.log").read_text()

    def write(
        self,
        ports: list[int] | None = None,
        domains: Mapping[str, int] | None = None,
        certificates: Mapping[str, SecretStr] | None = None,
    ) -> None:
        """Write the files as for a Keystone without a live release."""
        text = configuration(
            bind=LOCALHOST,
            ports=ports or self.ports,
            routes=[route for route in self.files.routes().values() if route],
            socket=self.run_dir / "haproxy.sock",
            doors=self.doors,
            policy=self.policy,
        )
        write_domain_files(self.config.parent, domains or {}, certificates or {})
        self.files.write(CONFIGURATION, text)

    def start(self) -> None:
        """Start a keeper, and wait until HAProxy answers."""
        start_keeper(self.arguments)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until HAProxy answers, and the keeper has noted it."""

        def is_up() -> bool:
            try:
                self.adapter.version()
            except RouterError:
                return False
            state = router_state(self.run_dir)
            return state is not None and state.haproxy in router_pids(self.run_dir)

        until(is_up, lambda: f"HAProxy is up: {self.log}")

    def kill_keeper(self) -> None:
        """Kill the keeper alone."""
        pid = self.state.keeper
        os.kill(pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not is_alive(pid), "it ends")


def is_alive(pid: int) -> bool:
    """Whether a process has not ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(look: Callable[[], object], what: str | Callable[[], str]) -> None:
    """Wait until a call gives a true value."""
    deadline = time.monotonic() + WITHIN_S
    while not look():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.02)


def get(port: int, *, path: str = "/", host: str = LOCALHOST) -> tuple[int, str]:
    """Ask once over a new connection."""
    connection = HTTPConnection(LOCALHOST, port, timeout=WITHIN_S)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def kept_router(
    folder: Path,
    *,
    count: int = 4,
    http: int | None = None,
    https: int | None = None,
    program: str = "",
    policy: Policy | None = None,
) -> Iterator[KeptRouter]:
    """Run a router for the length of the block; it also ends with this process."""
    (folder / "router").mkdir(mode=0o700, parents=True)
    doors = DomainDoors(LOCALHOST, http, https)
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="ks-") as run:
        router = KeptRouter(
            folder,
            free_ports(count),
            doors,
            program or installed_haproxy(),
            os.getpid(),
            Path(run),
            policy or Policy(PLACES),
        )
        try:
            router.write()
            router.start()
            yield router
        finally:
            stop_keeper(router.run_dir, router.config, router.arguments)
