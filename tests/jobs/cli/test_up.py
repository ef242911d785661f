"""`keystone up` as a person runs it: once for all of these tests, then again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from jobs.cli.servers import without_secrets
from jobs.demo.traffic import ask
from jobs.settings import Settings, WebSettings
from tests.haproxy import free_ports
from tests.jobs.bench import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

READY_WITHIN_S = 200.0
STOPS_WITHIN_S = 120.0
# What tells each part's command line from the others'.
PARTS = {
    "redis-server": "redis",
    "haproxy": "router",
    "jobs.cli watcher": "watcher",
    "jobs.cli worker": "worker",
    "uvicorn": "web",
}
PASSWORD_LINE = re.compile(r"Login +admin / (\S+)")


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

    def start(self) -> str:
        """Start it, wait until all of it is well, and give what it printed so far."""
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobs.cli", "up"],
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
        """Give the process ids of its parts, by what they are."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        command_lines = {int(pid): _read(int(pid), "cmdline") for pid in listed.split()}
        return {
            name: pid
            for pid, command_line in command_lines.items()
            for word, name in PARTS.items()
            if word in command_line
        }


def _read(pid: int, what: str) -> str:
    """Read a file of the kernel's about a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A Keystone that is up and was never up before."""
    up = Up(tmp_path_factory.mktemp("up"))
    up.start()
    yield up
    assert up.process is not None
    up.process.kill()
    up.process.wait(STOPS_WITHIN_S)
    # A path with a space has its sockets elsewhere.
    shutil.rmtree(Settings(data_dir=up.folder / "my data").socket_dir)


def test_the_first_start_makes_an_admin_and_says_where_things_are(up: Up) -> None:
    told = up.output.read_text()
    assert PASSWORD_LINE.search(told)
    assert up.url in told
    assert f"{up.url}/webhooks/github" in told


def test_every_part_runs(up: Up) -> None:
    # A worker that came before Redis is started again after a while.
    wait_for(lambda: set(up.parts()) == set(PARTS.values()))


def test_each_part_is_told_only_the_secrets_it_may_know(up: Up) -> None:
    told = {name: _read(pid, "environ") for name, pid in up.parts().items()}
    assert "the-webhook-secret" in told["web"]
    assert "the-github-token" not in told["web"]
    assert "the-github-token" in told["worker"]
    assert "KEYSTONE_PORT" in told["router"]
    assert "the-github-token" not in told["router"]
    assert "the-webhook-secret" not in told["router"]


def test_a_second_one_is_refused(up: Up) -> None:
    # But for the workers: one that came before Redis may be on its way yet.
    before = {name: pid for name, pid in up.parts().items() if name != "worker"}
    second = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", "up"],
        cwd=up.folder,
        env=up.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode == 4
    assert second.stderr.startswith("keystone: another `keystone up` uses ")
    up.wait_until_well()
    assert up.parts().items() >= before.items()


def test_it_stops_cleanly_and_starts_again_without_telling_a_password(up: Up) -> None:
    parts = up.parts()
    assert up.end(signal.SIGTERM) == 0
    assert not any(_read(pid, "cmdline") for pid in parts.values())
    assert not PASSWORD_LINE.search(up.start())


def test_killed_outright_it_leaves_no_process_behind(up: Up) -> None:
    parts = up.parts()
    up.end(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while left := [name for name, pid in parts.items() if _read(pid, "cmdline")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_an_environment_is_handed_on_without_secrets() -> None:
    environ = {
        "PATH": "/bin",
        "KEYSTONE_PORT": "1",
        "KEYSTONE_GITHUB_TOKEN": "x",
        "KEYSTONE_SECRET_KEY_FILE": "/key",
        "KEYSTONE_WEBHOOK_SECRET": "y",
    }
    assert set(without_secrets(environ)) == {"PATH", "KEYSTONE_PORT"}
    kept = set(without_secrets(environ, but_for=WebSettings))
    assert kept == set(environ) - {"KEYSTONE_GITHUB_TOKEN"}
