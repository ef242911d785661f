"""The supervisor with real processes: what it starts, restarts and stops, and what it leaves."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from supervisor.states import ProcessStates

from jobs.errors import ConflictError
from jobs.processes.separation import Apart, Together
from jobs.processes.supervise import (
    ASKERS_GONE_WITHIN_S,
    CONFIGURATION,
    LOCK_FILE,
    SUPERVISOR,
    SUPERVISOR_PID,
    Program,
    claim_identity,
    configuration,
    is_up,
    programs,
    supervisor_pid,
    take_over,
)
from jobs.processes.supervisor import LONGEST_PAUSE_S, Options, Part
from jobs.settings import Settings
from jobs.system.installation import python as interpreter
from jobs.system.notify import SOCKET
from jobs.system.part_users import PartUser, PartUsers
from jobs.system.private_folder import claims_dir
from jobs.system.privileges import Rights
from tests.apart import NOBODY, only_root
from tests.processes import processes_about

SOON_S = 60.0
# Comment signs, percent signs and quotes: all that supervisord's own file gives a meaning to.
AWKWARD = "a b #c ;d 100% %(x)s 'e' \"f\""

# Unbuffered (`-u`) each word of a line is written for itself, between those of other processes.
WHOLE_LINES = "import functools; print = functools.partial(print, flush=True); "


def python(code: str, *, name: str, priority: int = 10, count: int = 1) -> Program:
    """Make a part that is a line of Python; its first argument is AWKWARD."""
    return Program(name, (sys.executable, "-c", WHOLE_LINES + code, AWKWARD), priority, count)


def until(look: Callable[[], object], what: str, *, within_s: float = SOON_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


@dataclass
class House:
    """A running supervisor."""

    process: "subprocess.Popen[bytes]"
    output: Path
    data_dir: Path

    def said(self) -> list[str]:
        """Give what the supervisor and its parts have printed."""
        return self.output.read_text().splitlines()

    def children(self) -> list[int]:
        """Give the process ids of the parts that run now."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


@contextmanager
def house(folder: Path, parts: Sequence[Program], database: Path | None = None) -> Iterator[House]:
    """Run a supervisor with these parts, and end it whatever happens."""
    data_dir = folder / AWKWARD.replace("/", "")
    data_dir.mkdir(mode=0o700)
    code = (
        "import pathlib, sys; from jobs.processes.supervise import Program, supervise, take_over; "
        "from jobs.system.privileges import Rights; from jobs.processes.watched import Watched; "
        "data_dir = pathlib.Path(sys.argv[1]); "
        "database = pathlib.Path(sys.argv[2]) if sys.argv[2] else None; "
        f"supervise({list(parts)!r}, data_dir, take_over(data_dir), "
        "watched=Watched(data_dir / 'mirrors', database))"
    )
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(data_dir), str(database or "")],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield House(process, output, data_dir)
    finally:
        process.kill()
        process.wait(SOON_S)


# --- What is run -----------------------------------------------------------------------------


def test_everything_of_one_keystone_is_run(tmp_path: Path) -> None:
    parts = {
        part.name: part for part in programs(Settings(data_dir=tmp_path, workers=3), Together())
    }
    assert list(parts) == ["redis", "watcher", "worker", "quick-worker", "web"]
    assert parts["worker"].count == 3
    assert parts["worker"].stop_within_s >= 30


def test_a_redis_that_was_given_is_not_run(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, redis_url="redis://127.0.0.1:6379/0")
    assert "redis" not in {part.name for part in programs(settings, Together())}


def test_the_web_process_stops_when_the_work_has_and_redis_last(tmp_path: Path) -> None:
    listed = programs(Settings(data_dir=tmp_path), Together())
    parts = sorted(listed, key=lambda part: -part.priority)
    assert [part.name for part in parts] == ["worker", "quick-worker", "watcher", "web", "redis"]


def test_supervisord_reads_every_argument_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.conf"
    file.write_text(configuration([python("x = 1", name="a", count=2)], supervisor_pid=77))
    options = Options()
    options.realize(["-c", str(file), "-l", "/dev/null", "-j", "/dev/null"])
    (group,) = options.process_group_configs
    first, second = group.process_configs
    assert [first.name, second.name] == ["a-1", "a-2"]
    guard = ["-P", "-m", "jobs.system.die_with_parent", "77", "--without", SOCKET]
    expected = [interpreter(), *guard, sys.executable, "-c", f"{WHOLE_LINES}x = 1", AWKWARD]
    assert Part(first).get_execv_args()[1] == expected


def test_a_part_that_keeps_failing_is_never_given_up_and_waits_half_a_minute_at_most(
    tmp_path: Path,
) -> None:
    file = tmp_path / "supervisor.conf"
    file.write_text(configuration([python("x = 1", name="a")], supervisor_pid=77))
    options = Options()
    options.realize(["-c", str(file), "-l", "/dev/null", "-j", "/dev/null"])
    (config,) = options.process_group_configs[0].process_configs
    part = Part(config)
    part.backoff = 100_000
    part.change_state(ProcessStates.BACKOFF)
    assert part.backoff <= LONGEST_PAUSE_S <= config.startretries
    assert part.delay - time.time() <= LONGEST_PAUSE_S


def test_each_part_is_told_no_secret_that_it_may_not_know(tmp_path: Path) -> None:
    parts = {part.name: part for part in programs(Settings(data_dir=tmp_path), Together())}
    assert "KEYSTONE_WEBHOOK_SECRET" in parts["worker"].untold
    assert "KEYSTONE_WEBHOOK_SECRET" not in parts["web"].untold
    assert "KEYSTONE_GITHUB_TOKEN" in parts["redis"].untold
    assert parts["redis"].options == ["--without", ",".join((SOCKET, *parts["redis"].untold))]


def test_parts_that_are_apart_are_started_with_their_rights(tmp_path: Path) -> None:
    users = PartUsers(*(PartUser(f"user {n}", n, n) for n in (1, 2, 3, 4)))
    names = ("redis", "watcher", "worker", "quick-worker", "web")
    apart = Apart(
        users,
        {name: Rights(number, number) for number, name in enumerate(names)},
        {name: {"HOME": f"/home of {name}"} for name in names},
    )
    parts = {part.name: part for part in programs(Settings(data_dir=tmp_path), apart)}
    assert parts["web"].options[:2] == ["--rights", "4:4::"]
    assert parts["web"].options[-2:] == ["--with", "HOME=/home of web"]


# --- Whose data directory it is --------------------------------------------------------------


def test_one_data_directory_belongs_to_one_keystone_at_a_time(tmp_path: Path) -> None:
    assert not is_up(tmp_path)
    with take_over(tmp_path):
        assert is_up(tmp_path)
        with pytest.raises(ConflictError, match="another `keystone up` uses"):
            take_over(tmp_path)
    assert not is_up(tmp_path)
    take_over(tmp_path).close()


def test_asking_whether_a_keystone_is_up_makes_nothing(tmp_path: Path) -> None:
    assert not is_up(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "run").mkdir(mode=0o700)
    assert not is_up(tmp_path)
    assert list((tmp_path / "run").iterdir()) == []


def test_the_supervisor_of_a_copied_folder_is_not_that_of_the_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    (original / CONFIGURATION).touch()
    command = [sys.executable, "-c", "input()", SUPERVISOR, str(original / CONFIGURATION)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        (original / SUPERVISOR_PID).write_text(str(process.pid))
        shutil.copytree(original, copy)
        (tmp_path / "link").symlink_to(original)
        found = [supervisor_pid(folder) for folder in (original, tmp_path / "link", copy)]
        process.kill()
    assert found == [process.pid, process.pid, None]
    assert supervisor_pid(original) is None


def test_a_check_does_not_block_a_start(tmp_path: Path) -> None:
    take_over(tmp_path).close()
    asking = (tmp_path / "run" / LOCK_FILE).open()
    fcntl.flock(asking, fcntl.LOCK_SH)
    timer = threading.Timer(ASKERS_GONE_WITHIN_S / 5, asking.close)
    timer.start()
    take_over(tmp_path).close()
    timer.join()


# --- One of an identity ----------------------------------------------------------------------


@pytest.fixture
def identity() -> Iterator[str]:
    """An identity that no Keystone on this machine has."""
    name = secrets.token_hex(10)
    yield name
    for claim in claims_dir(os.getuid()).glob(f"{name}*"):
        claim.unlink()


def test_one_identity_belongs_to_one_keystone_on_the_machine(tmp_path: Path, identity: str) -> None:
    with claim_identity(identity, tmp_path / "a"):
        with pytest.raises(ConflictError, match="one of them is a copy of the other"):
            claim_identity(identity, tmp_path / "b")
        claim_identity(identity + "x", tmp_path / "b").close()
    claim_identity(identity, tmp_path / "b").close()


def test_a_strangers_abstract_socket_blocks_no_start(tmp_path: Path, identity: str) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(f"\0keystone-{identity}")
        claim_identity(identity, tmp_path).close()


@pytest.mark.parametrize("taken_by", ["file", "link", "folder of another user"])
def test_a_strangers_earlier_lock_blocks_no_start(
    tmp_path: Path, identity: str, monkeypatch: pytest.MonkeyPatch, taken_by: str
) -> None:
    monkeypatch.setattr("jobs.system.private_folder.runtime_dir", lambda _uid: tmp_path)
    theirs = tmp_path / f"keystone-{os.getuid()}-claims"
    if taken_by == "file":
        theirs.touch()
    elif taken_by == "link":
        theirs.symlink_to("/")
    else:
        theirs.mkdir(mode=0o777)
        if os.getuid() == 0:
            os.chown(theirs, 12345, 12345)
    claim = claim_identity(identity, tmp_path / "data")
    # Two with one data directory are still told apart.
    with claim, pytest.raises(ConflictError):
        claim_identity(identity, tmp_path / "data")


def test_nobody_but_this_user_can_reach_the_claims(tmp_path: Path, identity: str) -> None:
    with claim_identity(identity, tmp_path) as claim:
        file = Path(claim.name)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.parent.stat().st_uid == os.getuid()


# --- While it runs ---------------------------------------------------------------------------


def test_parts_run_and_stop_one_after_the_other_from_the_highest_priority_down(
    tmp_path: Path,
) -> None:
    stops = (
        "import signal, sys, time; "
        "signal.signal(15, lambda *_: (print('{0} ends'), time.sleep(0.3), sys.exit())); "
        "print('{0} runs with', sys.argv[1]); time.sleep(600)"
    )
    parts = [
        python(stops.format(name), name=name, priority=priority)
        for name, priority in (("low", 10), ("high", 50), ("middle", 30))
    ]
    with house(tmp_path, parts) as running:
        until(lambda: sum("runs with" in line for line in running.said()) == 3, "all run")
        assert f"low runs with {AWKWARD}" in running.said()
        assert is_up(running.data_dir)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(SOON_S) == 0
        assert [line for line in running.said() if line.endswith(" ends")] == [
            "high ends",
            "middle ends",
            "low ends",
        ]
        assert not is_up(running.data_dir)


def test_a_part_that_dies_is_started_again(tmp_path: Path) -> None:
    part = python("import time; print('begun'); time.sleep(600)", name="phoenix")
    with house(tmp_path, [part]) as running:
        until(lambda: running.said().count("begun") == 1, "it runs")
        (pid,) = running.children()
        os.kill(pid, signal.SIGKILL)
        until(lambda: running.said().count("begun") == 2, "it runs again")
        assert running.children() != [pid]


def test_a_part_that_ends_at_once_is_tried_again(tmp_path: Path) -> None:
    with house(tmp_path, [python("print('tried')", name="hasty")]) as running:
        until(lambda: running.said().count("tried") >= 3, "three tries")
        assert running.process.poll() is None


def test_a_supervisor_that_is_killed_leaves_no_orphans(tmp_path: Path) -> None:
    marker = f"orphan-of-{os.getpid()}"
    part = python(f"import time; print('begun'); time.sleep(600)  # {marker}", name="a", count=3)
    with house(tmp_path, [part]) as running:
        until(lambda: running.said().count("begun") == 3, "all run")
        assert len(running.children()) == 3
        running.process.kill()
        running.process.wait(SOON_S)
        until(lambda: not processes_about(marker), "no orphan lives")


def test_a_part_that_is_stopped_while_it_holds_the_database_is_started_again(
    tmp_path: Path,
) -> None:
    database = tmp_path / "keystone.db"
    writer = (
        "import sqlite3, time; db = sqlite3.connect({0!r}, isolation_level=None); "
        "db.execute('PRAGMA journal_mode=WAL'); db.execute('BEGIN IMMEDIATE'); "
        "db.execute('CREATE TABLE things (number)'); print('writing'); time.sleep(600)"
    )
    part = python(writer.format(str(database)), name="writer")
    with house(tmp_path, [part], database) as running:
        until(lambda: running.said().count("writing") == 1, "it writes")
        (pid,) = running.children()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: running.said().count("writing") == 2, "another one writes")
        assert any(f"killed {pid}: it was stopped" in line for line in running.said())


def test_a_part_that_is_stopped_is_started_again_unless_there_is_another(tmp_path: Path) -> None:
    code = "import os, time; print('{0}', os.getpid()); time.sleep(600)"
    parts = [
        python(code.format("lone"), name="lone"),
        python(code.format("pair"), name="p", count=2),
    ]
    with house(tmp_path, parts) as running:

        def pids(name: str) -> list[int]:
            return [int(line.split()[1]) for line in running.said() if line.startswith(f"{name} ")]

        until(lambda: len(pids("lone") + pids("pair")) == 3, "all run")
        (lone,), (one, _) = pids("lone"), pids("pair")
        for pid in (one, lone):
            os.kill(pid, signal.SIGSTOP)
        until(lambda: len(pids("lone")) == 2, "another one runs", within_s=2 * SOON_S)
        assert any(f"killed {lone}: it was stopped" in line for line in running.said())
        assert one in running.children()


@only_root
def test_a_part_of_another_user_is_killed_when_it_is_stopped(tmp_path: Path) -> None:
    """The supervisor stays root, because nobody else can signal them all."""
    part = Program("lone", ("/bin/sleep", "98764"), 10, rights=Rights(NOBODY, NOBODY))
    with house(tmp_path, [part]) as running:

        def sleepers() -> list[int]:
            return [
                pid
                for pid in running.children()
                if "sleep" in Path(f"/proc/{pid}/comm").read_text()
            ]

        until(sleepers, "it runs")
        (before,) = sleepers()
        assert Path(f"/proc/{before}").stat().st_uid == NOBODY
        os.kill(before, signal.SIGSTOP)
        until(lambda: before not in running.children(), "it is killed", within_s=2 * SOON_S)
        until(sleepers, "another one runs")


def test_the_files_beside_the_database_stay_while_it_runs(tmp_path: Path) -> None:
    """Whoever closes it last removes them, and not every part may make them again."""
    database = tmp_path / "keystone.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE things (number)")
    beside = [database.with_name(f"keystone.db-{end}") for end in ("wal", "shm")]
    assert not any(path.exists() for path in beside)
    part = python("import time; print('begun'); time.sleep(600)", name="a")
    with house(tmp_path, [part], database) as running:
        until(lambda: "begun" in running.said(), "it runs")
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("INSERT INTO things VALUES (1)")
            connection.commit()
        assert all(path.exists() for path in beside)
        # Nobody is kept from writing, nor from reading what was written.
        with closing(sqlite3.connect(database, timeout=0)) as connection:
            assert connection.execute("SELECT count(*) FROM things").fetchone() == (1,)
            connection.execute("DELETE FROM things")
            connection.commit()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(SOON_S) == 0
    assert not any(path.exists() for path in beside)


def test_no_part_finds_a_file_of_settings(tmp_path: Path) -> None:
    part = python("import os, time; print('in', os.getcwd()); time.sleep(600)", name="a")
    with house(tmp_path, [part]) as running:
        told = f"in {running.data_dir / 'run'}"
        until(lambda: told in running.said(), "it stands where no .env lies")


def test_its_own_files_are_closed_to_others(tmp_path: Path) -> None:
    part = python("import time; print('begun'); time.sleep(600)", name="a")
    with house(tmp_path, [part]) as running:
        until(lambda: "begun" in running.said(), "it runs")
        folder = running.data_dir / "run"
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / "supervisor.conf").stat().st_mode & 0o777 == 0o600
