"""A process that was stopped in the middle of writing to the database."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from jobs.system.proc import is_stopped
from jobs.system.stopped import FrozenHolders, LongStopped, locks_held
from jobs.system.watch_times import LONG_LOOKS
from tests.jobs.bench import wait_for

WRITES_FOR_EVER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("INSERT INTO things VALUES (1)")
print("writing", flush=True)
time.sleep(60)
"""
HOLDS_FOR_EVER = """
import fcntl, sys, time
file = open(sys.argv[1], "wb")
fcntl.flock(file, fcntl.LOCK_EX)
print("holding", flush=True)
time.sleep(60)
"""
READS_FOR_EVER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN")
database.execute("SELECT * FROM things").fetchall()
print("reading", flush=True)
time.sleep(60)
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "keystone.db"
    # Open throughout, as it is in a running Keystone: the last to close it removes the lock's file.
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE things (number)")
        connection.commit()
        yield file


@contextmanager
def child(code: str, database: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has said that it is at it."""
    command = [sys.executable, "-c", code, str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(process.pid))


def insert(database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        connection.execute("INSERT INTO things VALUES (2)")
        connection.commit()


class TestAStoppedWriter:
    def test_is_killed_at_the_second_look_and_others_can_write(self, database: Path) -> None:
        watch = FrozenHolders(database.parent / "mirrors", database)
        with child(WRITES_FOR_EVER, database) as process:
            stop(process)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                insert(database)
            assert watch.look() == set()
            assert process.poll() is None
            assert watch.look() == {process.pid}
            assert process.wait(60) == -signal.SIGKILL
        insert(database)

    def test_one_that_goes_on_in_between_is_left_alone(self, database: Path) -> None:
        watch = FrozenHolders(database.parent / "mirrors", database)
        with child(WRITES_FOR_EVER, database) as process:
            stop(process)
            watch.look()
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: not is_stopped(process.pid))
            watch.look()
            stop(process)
            watch.look()
            assert process.poll() is None

    def test_one_that_works_may_take_its_time(self, database: Path) -> None:
        watch = FrozenHolders(database.parent / "mirrors", database)
        with child(WRITES_FOR_EVER, database) as process:
            for _ in range(3):
                watch.look()
            assert process.poll() is None

    def test_a_reader_keeps_nobody_from_writing_and_is_left_alone(self, database: Path) -> None:
        watch = FrozenHolders(database.parent / "mirrors", database)
        with child(READS_FOR_EVER, database) as process:
            stop(process)
            for _ in range(3):
                watch.look()
            assert process.poll() is None
            insert(database)

    def test_of_another_database_is_none_of_ours(self, database: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.db"
        with closing(sqlite3.connect(other)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE things (number)")
            watch = FrozenHolders(tmp_path / "mirrors", other)
            with child(WRITES_FOR_EVER, database) as process:
                stop(process)
                for _ in range(3):
                    watch.look()
                assert process.poll() is None

    def test_without_a_database_there_is_nothing_to_see(self, tmp_path: Path) -> None:
        FrozenHolders(tmp_path / "mirrors", tmp_path / "nowhere.db").look()


def test_a_stopped_process_that_locks_a_mirror_is_killed_too(tmp_path: Path) -> None:
    (tmp_path / "mirrors").mkdir()
    lock = tmp_path / "mirrors" / "7.lock"
    lock.touch()
    watch = FrozenHolders(tmp_path / "mirrors", None)
    with child(HOLDS_FOR_EVER, lock) as process:
        stop(process)
        assert watch.look() == set()
        assert watch.look() == {process.pid}
        assert process.wait(60) == -signal.SIGKILL


class TestOneThatHoldsNothing:
    def test_is_found_when_it_was_stopped_for_long(self, database: Path) -> None:
        stopped = LongStopped()
        with child(READS_FOR_EVER, database) as process:
            stop(process)
            for _ in range(LONG_LOOKS - 1):
                assert stopped.among([process.pid]) == set()
            assert stopped.among([process.pid]) == {process.pid}
        assert stopped.among([process.pid]) == set()

    def test_that_goes_on_in_between_is_not(self, database: Path) -> None:
        stopped = LongStopped()
        with child(READS_FOR_EVER, database) as process:
            for _ in range(3):
                stop(process)
                for _ in range(LONG_LOOKS - 1):
                    assert stopped.among([process.pid]) == set()
                process.send_signal(signal.SIGCONT)
                wait_for(lambda: not is_stopped(process.pid))
                assert stopped.among([process.pid]) == set()

    def test_that_is_not_there_is_not(self) -> None:
        stopped = LongStopped()
        for _ in range(LONG_LOOKS):
            assert stopped.among([0]) == set()


LOCKS = """\
1: FLOCK  ADVISORY  WRITE 100 fe:00:7 0 EOF
2: POSIX  ADVISORY  READ  101 fe:00:7 123 123
3: POSIX  ADVISORY  WRITE 102 fe:00:7 120 120
3: -> POSIX  ADVISORY  WRITE 103 fe:00:7 120 120
4: POSIX  ADVISORY  WRITE 104 fe:00:77 120 120
6: OFDLCK ADVISORY  WRITE -1 fe:00:7 120 120
7: FLOCK  ADVISORY  READ  105 fe:00:7 0 EOF
"""


def test_only_a_process_that_blocks_others_is_found() -> None:
    assert list(locks_held(LOCKS)) == [(100, 7), (102, 7), (104, 77)]
