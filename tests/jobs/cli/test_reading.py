"""Commands that read change nothing, and only those that say so found a Keystone."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from jobs.processes.runtime import open_runtime
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import HEAD, migrate_to
from tests.haproxy import free_ports
from tests.jobs.cli.commands import Commands
from tests.jobs.cli.kinds import (
    APPS,
    APPS_FILE,
    CHANGES,
    FOUNDS,
    LOOKS,
    OF_THE_MACHINE,
    OF_TWO_KINDS,
    READS,
    Arguments,
    calls,
    every_command,
)
from tests.jobs.released_rows import KEY, fill

PASSWORD = "correct horse battery"
# A folder's entries by path: mode, and what is in it.
Snapshot = dict[str, tuple[int, str]]


def snapshot(folder: Path) -> Snapshot:
    """Give everything below a folder, with modes and contents."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, _digest(path))
        for path in folder.rglob("*")
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder somebody stands in; the files that commands are given lie elsewhere."""
    for name, value in {
        "KEYSTONE_REDIS_URL": "unix:///nowhere/redis.sock",
        "KEYSTONE_PORT": str(free_ports(1)[0]),
        "DOCKER_HOST": "unix:///nowhere/docker.sock",
        "WEB_TOKEN": "ghp_of-the-apps-file",
    }.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / APPS_FILE).write_text(APPS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    """The command line of somebody who stands in that folder and has set no data directory."""
    assert folder.is_dir()
    return Commands({}, monkeypatch, capsys)


def given(arguments: Arguments, folder: Path) -> Arguments:
    """Name the file of apps where it lies."""
    return tuple(
        str(folder.parent / "there" / word) if word == APPS_FILE else word for word in arguments
    )


def test_every_command_is_of_one_kind() -> None:
    decided = Counter([*LOOKS, *READS, *CHANGES, *FOUNDS, *OF_THE_MACHINE])
    assert set(every_command()) == set(decided)
    assert {name for name, count in decided.items() if count > 1} == OF_TWO_KINDS


class TestWithoutAKeystone:
    @pytest.mark.parametrize("arguments", [*calls(READS), *calls(CHANGES)], ids=" ".join)
    def test_it_is_said_that_there_is_none_and_nothing_is_made(
        self, command_line: Commands, folder: Path, arguments: Arguments
    ) -> None:
        refused = command_line(*given(arguments, folder), stdin=PASSWORD, code=_code(arguments))
        if arguments != ("router", "--write"):
            assert refused.stderr == (
                f"keystone: there is no Keystone in {folder}/data: run this in the folder where "
                "`keystone up` runs, or set KEYSTONE_DATA_DIR; `keystone up` makes a new one\n"
            )
        assert refused.stdout == ""
        assert snapshot(folder) == {}

    @pytest.mark.parametrize("arguments", calls(LOOKS), ids=" ".join)
    def test_looking_at_the_machine_makes_nothing(
        self, command_line: Commands, folder: Path, arguments: Arguments
    ) -> None:
        command_line(*arguments, code=5 if arguments[0] == "doctor" else 0)
        assert snapshot(folder) == {}

    @pytest.mark.parametrize("left", ["an empty folder", "an empty file", "a key"])
    def test_half_of_one_is_none(self, command_line: Commands, folder: Path, left: str) -> None:
        data = folder / "data"
        data.mkdir()
        if left == "an empty file":
            (data / "keystone.db").touch()
        elif left == "a key":
            (data / "secret.key").write_text("x" * 40)
        before = snapshot(folder)
        for arguments in (("status",), ("app", "add", "web", "--repository", "octo/web")):
            assert "there is no Keystone" in command_line(*arguments, code=3).stderr
        command_line("doctor", code=5)
        assert snapshot(folder) == before

    def test_a_file_that_is_no_database_is_told_apart(
        self, command_line: Commands, folder: Path
    ) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "keystone.db").write_text("not a database at all, but long enough" * 9)
        assert "cannot be read: file is not" in command_line("status", code=5).stderr

    def test_an_sqlite_file_elsewhere_is_not_made_either(
        self, command_line: Commands, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KEYSTONE_DATABASE_URL", f"sqlite:///{folder}/other.db")
        told = command_line("status", code=3).stderr
        assert f"no Keystone in {folder}/data, or in the database that" in told
        command_line("doctor", code=5)
        assert snapshot(folder) == {}


def _code(arguments: Arguments) -> int:
    # It is refused earlier: there is no HAProxy of somebody's own to write for.
    return 2 if arguments == ("router", "--write") else 3


@pytest.fixture
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a Keystone with a row in every table, which is stopped."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    monkeypatch.setenv("KEYSTONE_SECRET_KEY", KEY.get_secret_value())
    settings = Settings(data_dir=data, secret_key=KEY)
    database = Database(settings.effective_database_url)
    migrate_to(database, HEAD)
    with database.writer_engine.begin() as connection:
        fill(connection)
    database.close()
    open_runtime(settings).database.close()
    (data / "logs").mkdir(mode=0o700)
    (data / "logs" / "31.log").write_text("08:30:00.000 build: compiling\n")
    return data


def leave_as_if_killed(data: Path) -> None:
    """Have a process die that has the database open, with something that is only in the log."""
    code = (
        "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "database.execute('UPDATE apps SET paused_reason = ?', ('as it was last',)); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, data / "keystone.db"], check=False, timeout=120)
    assert (data / "keystone.db-wal").stat().st_size > 0


class TestReading:
    @pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
    def test_nothing_is_changed(
        self, command_line: Commands, folder: Path, data: Path, *, is_killed: bool
    ) -> None:
        if is_killed:
            leave_as_if_killed(data)
        before = snapshot(folder)
        for arguments in [*calls(READS), *calls(LOOKS)]:
            code = 5 if arguments in {("logs", "web"), ("doctor",), ("doctor", "--json")} else 0
            done = command_line(*given(arguments, folder), code=code)
            assert done.stdout or code, arguments
            assert snapshot(folder) == before, arguments

    @pytest.mark.parametrize("has_index", [True, False])
    def test_what_a_killed_keystone_wrote_last_is_seen(
        self, command_line: Commands, data: Path, *, has_index: bool
    ) -> None:
        leave_as_if_killed(data)
        if not has_index:  # which only SQLite may make again
            (data / "keystone.db-shm").unlink()
        assert "as it was last" in command_line("app", "show", "web").stdout

    def test_a_folder_that_this_user_may_not_enter_is_told(
        self, command_line: Commands, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_path: Path) -> bool:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "exists", refuse)
        told = command_line("status", code=5).stderr
        assert told.startswith(f"keystone: {data}/keystone.db cannot be read: Permission denied\n")

    def test_the_dry_run_refuses_what_would_be_refused(
        self, command_line: Commands, folder: Path, data: Path
    ) -> None:
        file = folder.parent / "there" / APPS_FILE
        file.write_text('[apps.other]\nrepository = "octo/other"\ndomains = ["www.example.com"]\n')
        before = snapshot(folder)
        refused = command_line("apply", str(file), "--dry-run", code=4)
        assert "www.example.com belongs to web already" in refused.stderr
        assert snapshot(folder) == before
        assert (data / "keystone.db").exists()


class TestAnOlderSchema:
    @pytest.fixture
    def older(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A Keystone that has not been started since it was upgraded."""
        monkeypatch.setenv("KEYSTONE_SECRET_KEY", KEY.get_secret_value())
        (folder / "data").mkdir(mode=0o700)
        database = Database(f"sqlite:///{folder}/data/keystone.db")
        migrate_to(database, "0001")
        with database.writer_engine.begin() as connection:
            fill(connection)
        database.close()
        return "0001"

    def test_it_is_brought_up_to_date_by_nothing_but_what_says_so(
        self, command_line: Commands, folder: Path, older: str
    ) -> None:
        before = snapshot(folder)
        for arguments in [*calls(READS), *calls(CHANGES)]:
            if arguments[0] in {"backup", "router"}:
                continue
            told = command_line(*given(arguments, folder), stdin=PASSWORD, code=4).stderr
            assert told == (
                f"keystone: the database has schema {older}, and this Keystone needs {HEAD}: "
                "`keystone up` or `keystone migrate` brings it up to date; nothing was changed\n"
            )
        assert snapshot(folder) == before
        assert HEAD in command_line("migrate").stdout
        assert "web" in command_line("status").stdout

    def test_a_backup_can_be_made_of_it(
        self, command_line: Commands, folder: Path, older: str
    ) -> None:
        file = folder.parent / "there" / "backup"
        told = command_line("backup", str(file), "--without-key").stdout
        assert f"the database (schema {older})" in told
