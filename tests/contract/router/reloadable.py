"""A HAProxy with a master, whose files the adapter keeps current: it can be reloaded."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.haproxy.config import configuration
from jobs.adapters.haproxy.files import CONFIGURATION, RouterFiles
from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.adapters.haproxy.runtime_api import MASTER_SOCKET
from jobs.processes.router_server import installed_haproxy, write_domain_files
from jobs.system.haproxy_process import is_ready
from tests.contract.router.visits import wait_for
from tests.haproxy import LOCALHOST, PLACES


@contextmanager
def socket_folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@dataclass
class Reloadable:
    """A HAProxy, and the adapter that writes its files."""

    folder: Path
    sockets: Path
    ports: list[int]
    process: subprocess.Popen[bytes] | None = None
    reloads: int = 0

    @property
    def adapter(self) -> HAProxyRouter:
        """The adapter; it asks the newest worker."""
        return HAProxyRouter(
            self.sockets / "router.sock",
            master=self.sockets / MASTER_SOCKET,
            files=RouterFiles(self.folder),
            timeout_s=60,
            patience_s=60,
        )

    def start(self) -> None:
        """Write the files, and start the master."""
        text = configuration(
            bind=LOCALHOST,
            ports=self.ports,
            routes=(),
            socket=self.sockets / "router.sock",
            doors=DomainDoors(LOCALHOST),
            policy=Policy(PLACES),
        )
        write_domain_files(self.folder, {}, {})
        file = self.folder / CONFIGURATION
        file.write_text(text)
        master = self.sockets / MASTER_SOCKET
        words = ["-W", "-db", "-S", f"{master},mode,600", "-f", str(file)]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([installed_haproxy(), *words], stdout=log, stderr=log)
        wait_for(self._is_ready)

    def reload(self) -> None:
        """Have the master read the files again, and wait until it serves."""
        assert self.process is not None
        self.reloads += 1
        self.process.send_signal(signal.SIGUSR2)
        wait_for(self._is_ready)

    def end(self) -> None:
        """End the master and its workers at once."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def _is_ready(self) -> bool:
        return bool(is_ready(self.sockets / MASTER_SOCKET, reloads=self.reloads))
