"""Commands that read, beside a Keystone that is up: its real router listens on every port."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.jobs.cli.commands import Finished
from tests.jobs.cli.kinds import APPS, APPS_FILE, LOOKS, READS, calls
from tests.jobs.cli.running import Up, running

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

# What only time, and not a command, writes.
CLOCKS = ("vitals", "catch_ups")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("up")) as up:
        (up.folder / APPS_FILE).write_text(APPS)
        yield up


def keystone(up: Up, *arguments: str, stdin: str = "") -> Finished:
    """Run a command in the folder of a `keystone up`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", *arguments],
        cwd=up.folder,
        env=up.environ | {"WEB_TOKEN": "ghp_x", "PATH": os.environ["PATH"]},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def dump(up: Up) -> list[str]:
    """Give the database's rows as SQL, those of blocked ports and of domain ports among them."""
    path = up.folder / "my data" / "keystone.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [line for line in database.iterdump() if not _is_of_a_clock(line)]


def _is_of_a_clock(line: str) -> bool:
    return any(f'INSERT INTO "{table}"' in line for table in CLOCKS)


def test_nothing_is_changed_and_apps_still_get_ports(up: Up) -> None:
    added = keystone(up, "app", "add", "web", "--repository", "octo/web")
    assert added.code == 0, added
    keystone(up, "user", "add", "ada", "--role", "viewer", stdin="correct horse battery")
    before = dump(up)
    for arguments in [*calls(READS), *calls(LOOKS)]:
        done = keystone(up, *arguments)
        # Nothing was ever deployed.
        assert done.code == (3 if arguments[0] == "logs" else 0), (arguments, done)
    assert dump(up) == before
    added = keystone(up, "app", "add", "other", "--repository", "octo/other")
    assert added.code == 0, added


def test_the_printed_configuration_is_that_of_the_running_router(up: Up) -> None:
    printed = keystone(up, "router", "--print").stdout
    written = (up.folder / "my data" / "router" / "haproxy.cfg").read_text()
    assert printed == written


def test_a_configuration_is_written_for_no_router_but_somebodys_own(up: Up) -> None:
    file = up.folder / "my data" / "router" / "haproxy.cfg"
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    refused = keystone(up, "router", "--write")
    assert refused.code == 2
    assert "KEYSTONE_ROUTER_SOCKET is not set" in refused.stderr
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
