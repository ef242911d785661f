"""Commands that read, beside a Keystone that is up: its real router listens on every port."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.jobs.cli.commands import Commands
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


@pytest.fixture
def keystone(
    up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    """The command line of somebody who stands in the folder of that `keystone up`."""
    monkeypatch.chdir(up.folder)
    return Commands(up.environ | {"WEB_TOKEN": "ghp_x"}, monkeypatch, capsys)


def dump(up: Up) -> list[str]:
    """Give the database's rows as SQL, those of blocked ports and of domain ports among them."""
    path = up.folder / "my data" / "keystone.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [line for line in _without_searches(database) if not _is_of_a_clock(line)]


def _without_searches(database: sqlite3.Connection) -> Iterator[str]:
    """Give the rows without when the watcher asks GitHub who a repository is."""
    with closing(sqlite3.connect(":memory:")) as copy:
        database.backup(copy)
        copy.execute("UPDATE repositories SET identity_paused_until = NULL, identity_due_at = NULL")
        yield from copy.iterdump()


def _is_of_a_clock(line: str) -> bool:
    return any(f'INSERT INTO "{table}"' in line for table in CLOCKS)


def test_nothing_is_changed_and_apps_still_get_ports(up: Up, keystone: Commands) -> None:
    keystone("app", "add", "web", "--repository", "octo/web")
    keystone("user", "add", "ada", "--role", "viewer", stdin="correct horse battery")
    before = dump(up)
    for arguments in [*calls(READS), *calls(LOOKS)]:
        keystone(*arguments, code=3 if arguments[0] == "logs" else 0)  # nothing was deployed yet
    assert dump(up) == before
    keystone("app", "add", "other", "--repository", "octo/other")


def test_the_printed_configuration_is_that_of_the_running_router(
    up: Up, keystone: Commands
) -> None:
    written = (up.folder / "my data" / "router" / "haproxy.cfg").read_text()
    assert keystone("router", "--print").stdout == written


def test_a_configuration_is_written_for_no_router_but_somebodys_own(
    up: Up, keystone: Commands
) -> None:
    file = up.folder / "my data" / "router" / "haproxy.cfg"
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    assert "KEYSTONE_ROUTER_SOCKET is not set" in keystone("router", "--write", code=2).stderr
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
