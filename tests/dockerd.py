"""A second Docker Engine that tests may kill, starve and fill up, far away from the first one.

It has a network of its own, so that its rules never meet the first engine's, and keeps everything
in memory, below one small folder. Making one needs root.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import DockerException

from tests.processes import processes_about

UP_WITHIN_S = 120.0
ENDED_WITHIN_S = 60.0
MOST_ROUNDS = 50


class PrivateEngine:
    """A running engine.

    Attributes:
        data_root: where it keeps images; all of the folder's file system is its disk.
    """

    def __init__(self, folder: Path, network: str, options: Sequence[str]) -> None:
        self.data_root = folder / "root"
        self.network = network  # its network namespace
        self.url = f"unix://{folder}/docker.sock"
        self._log = folder.with_suffix(".log")
        self._command = [
            *(_program("nsenter"), f"--net=/var/run/netns/{network}", _program("dockerd")),
            *("--data-root", str(self.data_root), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "docker.pid"), "--host", self.url),
            *("--iptables=false", "--ip-masq=false", "--bip", "10.199.0.1/24"),
            *options,
        ]
        self.start()

    def start(self, *options: str) -> None:
        """Start dockerd, or start it again once it has ended, and wait until it answers."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*self._command, *options], stdout=log, stderr=log)
        self._wait_until_up()

    def end(self, number: signal.Signals) -> None:
        """Send dockerd a signal that ends it, and go on at once."""
        self._process.send_signal(number)

    def wait(self) -> None:
        """See dockerd gone."""
        self._process.wait(ENDED_WITHIN_S)

    def connect(self) -> docker.DockerClient:
        """Open a connection, which the caller closes."""
        return docker.DockerClient(base_url=self.url, timeout=60)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            # Before there is a socket the SDK would leave a broken connection lying about.
            if Path(self.url.removeprefix("unix://")).exists():
                with suppress(DockerException, requests.RequestException):
                    self.connect().close()
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the second dockerd did not come up: {self._log.read_text()[-2000:]}")


@contextmanager
def private_engine(*, disk_mb: int = 200, options: Sequence[str] = ()) -> Iterator[PrivateEngine]:
    """Run a second engine for the length of the block; nothing of it is left afterwards.

    Args:
        options: more of dockerd's own.
    """
    if os.geteuid() != 0:
        pytest.skip("a second Docker Engine needs root: run the tests as root to have this one too")
    # Short: the paths of Unix sockets in it have to be.
    folder = Path(tempfile.mkdtemp(prefix="ks-"))
    network = f"keystone-{secrets.token_hex(4)}"
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "tmpfs", str(folder))
        _run("ip", "netns", "add", network)
        engine = PrivateEngine(folder, network, options)
        try:
            yield engine
        finally:
            engine.end(signal.SIGTERM)
            engine.wait()
    finally:
        _clear_away(folder, network)


def _clear_away(folder: Path, network: str) -> None:
    """End what a killed engine has left running, and take its mounts and network away."""
    for _ in range(MOST_ROUNDS):
        _kill_what_is_left(folder)
        for point in _mounts(folder):
            # Lazily: what is busy goes as soon as its last process has ended.
            subprocess.run([_program("umount"), "-l", point], check=False, timeout=60)
        if not _mounts(folder) and not processes_about(str(folder)):
            break
        time.sleep(0.1)
    subprocess.run([_program("ip"), "netns", "del", network], check=False, timeout=60)
    folder.rmdir()
    folder.with_suffix(".log").unlink(missing_ok=True)


def _kill_what_is_left(folder: Path) -> None:
    found = [process.pid for process in processes_about(str(folder))]
    for pid in [*found, *_inside_containers(folder)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _inside_containers(folder: Path) -> Iterator[int]:
    """Give the processes with a mount namespace of their own whose root lies in the folder.

    One that only sees the folder may be another engine's container, on its way to its own root.
    """
    ours = Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_theirs = (process / "ns/mnt").readlink() != ours
            if is_theirs and f"{folder}/" in _root_mount(process):
                yield int(process.name)


def _root_mount(process: Path) -> str:
    """Give what the kernel tells of the mount that a process sees as its root."""
    mounts = (process / "mountinfo").read_text().splitlines()
    return next((mount for mount in reversed(mounts) if mount.split()[4] == "/"), "")


def _mounts(folder: Path) -> list[str]:
    """Give what is mounted there or below, the innermost first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if f"{point}/".startswith(f"{folder}/")]


def _run(name: str, *arguments: str) -> None:
    subprocess.run([_program(name), *arguments], check=True, timeout=60, capture_output=True)


def _program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        package = {"ip": "iproute2", "dockerd": "docker.io"}.get(name, "util-linux mount")
        pytest.fail(f"{name} is not installed: apt-get install {package}")
    return path
