"""`keystone up` as a person runs it: once for all of these tests, then again."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from jobs.cli.servers import without_secrets
from jobs.processes.router_control import router_pids
from jobs.settings import WebSettings
from tests.jobs.bench import wait_for
from tests.jobs.cli.running import PARTS, Up, read_process, running

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

PASSWORD_LINE = re.compile(r"Login +admin / (\S+)")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A Keystone that is up and was never up before."""
    with running(tmp_path_factory.mktemp("up")) as up:
        yield up


def test_the_first_start_makes_an_admin_and_says_where_things_are(up: Up) -> None:
    told = up.output.read_text()
    assert PASSWORD_LINE.search(told)
    assert up.url in told
    assert f"{up.url}/webhooks/github" in told


def test_every_part_runs(up: Up) -> None:
    # A worker that came before Redis is started again after a while.
    wait_for(lambda: set(up.parts()) == set(PARTS.values()))


def test_each_part_is_told_only_the_secrets_it_may_know(up: Up) -> None:
    told = {name: read_process(pid, "environ") for name, pid in up.parts().items()}
    assert "the-webhook-secret" in told["web"]
    assert "the-github-token" not in told["web"]
    assert "the-github-token" in told["worker"]
    assert "KEYSTONE_PORT" in told["watcher"]
    for pid in router_pids(up.settings.run_dir):
        assert "KEYSTONE_" not in read_process(pid, "environ")


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
    assert not any(read_process(pid, "cmdline") for pid in parts.values())
    assert not PASSWORD_LINE.search(up.start())


def test_killed_outright_it_leaves_no_process_behind(up: Up) -> None:
    parts = up.parts()
    up.end(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while left := [name for name, pid in parts.items() if read_process(pid, "cmdline")]:
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
