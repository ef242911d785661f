"""A real `keystone up` for tests: started, asked whether it is well, ended."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from jobs.demo.traffic import ask
from jobs.processes.router_service import stop_router
from jobs.settings import Settings
from tests.haproxy import free_ports

READY_WITHIN_S = 200.0
STOPS_WITHIN_S = 120.0
# What tells each part's command line from the others'.
PARTS = {
    "redis-server": "redis",
    "jobs.cli watcher": "watcher",
    "jobs.cli worker": "worker",
    "jobs.cli quick-worker": "quick-worker",
    "uvicorn": "web",
}


class Up:
    """A `keystone up` in a folder with a space in its path."""

    def __init__(self, folder: Path) -> None:
        web, *apps = free_ports(6)
        self.folder = folder
        self.url = f"http://127.0.0.1:{web}"
        self.output = folder / "output"
        self.environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environ |= {
            "KEYSTONE_DATA_DIR": str(folder / "my data"),
            "KEYSTONE_PORT": str(web),
            "KEYSTONE_PORT_RANGE": f"{apps[0]}-{apps[-1]}",
            "KEYSTONE_WORKERS": "2",
            "KEYSTONE_GITHUB_TOKEN": "the-github-token",
            "KEYSTONE_WEBHOOK_SECRET": "the-webhook-secret",
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        """Settings that lead to its files."""
        return Settings(data_dir=self.folder / "my data")

    def start(self) -> str:
        """Start it, wait until all of it is well, and give what it printed so far."""
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobs.cli", "up", "--owner", str(os.getpid())],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.wait_until_well()
        return self.output.read_text()

    def wait_until_well(self) -> None:
        """Wait until every part answers."""
        assert self.process is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.is_well():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.2)

    def is_well(self) -> bool:
        """Whether the web process says that every part answers."""
        try:
            return '"status":"ok"' in ask(self.url, path="/readyz")
        except (OSError, HTTPException):
            return False

    def end(self, number: int) -> int:
        """Send a signal, and give the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOPS_WITHIN_S)

    def parts(self) -> dict[str, int]:
        """Give the process ids of its parts, by what they are; the router is none of them."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        command_lines = {int(pid): read_process(int(pid), "cmdline") for pid in listed.split()}
        return {
            name: pid
            for pid, command_line in command_lines.items()
            for word, name in PARTS.items()
            if word in command_line
        }


def read_process(pid: int, what: str) -> str:
    """Read a file of the kernel's about a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@contextmanager
def running(folder: Path) -> Iterator[Up]:
    """Have a Keystone up that was never up before."""
    up = Up(folder)
    up.start()
    try:
        yield up
    finally:
        assert up.process is not None
        up.process.kill()
        up.process.wait(STOPS_WITHIN_S)
        stop_router(up.settings)
        # A path with a space has its sockets elsewhere.
        shutil.rmtree(up.settings.socket_dir)
