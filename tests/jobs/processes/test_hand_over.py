"""What two versions of Keystone tell each other at a hand-over."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from jobs.processes.hand_over import (
    GIVEN,
    INHERITED,
    PATH,
    REDIS,
    Given,
    Inherited,
    code_first,
    end_redis,
    inherit,
    note_given,
)
from jobs.processes.supervise import LOCK_FILE, is_up, take_over
from jobs.processes.versions import Version
from jobs.system.earlier_web import VARIABLE, earlier_webs, end_of_other_users

OLD = Version("/old/python", "/data/code/old", "1", "", "0010")
NEW = Version("/new/python", "/data/code/new", "2", "", "0011")
START = {"PATH": "/bin", "KEYSTONE_PORT": "1", "KEYSTONE_ADMIN_PASSWORD": "x", PATH: "/mine"}


def given() -> Given:
    """Give what the old version remembers of its start."""
    return note_given(OLD, START, "KEYSTONE_", ["--no-router"], forget=["KEYSTONE_ADMIN_PASSWORD"])


def test_how_it_was_started_survives_as_text() -> None:
    held = replace(given(), claims=[5, 6])
    assert Given.from_text(held.to_text()).to_text() == held.to_text()
    assert (list(held.claims), list(held.words)) == ([5, 6], ["--no-router"])


def test_the_next_version_is_started_with_the_settings_as_they_were_given() -> None:
    # The running Keystone has completed its settings, and runs from its copy of the code.
    now = {
        **START,
        "KEYSTONE_PORT": "1",
        "KEYSTONE_WORKERS": "2",
        PATH: "/data/code/old:/mine",
        GIVEN: "…",
        INHERITED: "…",
        "NOTIFY_SOCKET": "/run/n",
    }
    assert code_first(NEW, given().environment(now)) == {
        "PATH": "/bin",
        "KEYSTONE_PORT": "1",
        "NOTIFY_SOCKET": "/run/n",
        PATH: "/data/code/new:/mine",
    }


def test_a_version_that_was_started_from_its_copy_does_not_pass_that_on() -> None:
    started = code_first(NEW, given().environment(START))
    again = note_given(NEW, started, "KEYSTONE_", [])
    assert again.variables[PATH] == "/mine"
    assert code_first(OLD, again.environment({}))[PATH] == "/data/code/old:/mine"


def test_what_is_inherited_is_taken_from_the_environment_once() -> None:
    left = Inherited([5], {"web": [7]}, OLD, is_handed_over=True)
    environ = {"A": "b", INHERITED: left.to_text(), GIVEN: "…"}
    assert inherit(environ) == left
    assert environ == {"A": "b"}
    assert inherit(environ) == Inherited()
    assert inherit({INHERITED: "nonsense"}) == Inherited()
    assert inherit({INHERITED: "[1]"}) == Inherited()


def test_an_inherited_lock_is_held_without_a_pause(tmp_path: Path) -> None:
    lock = take_over(tmp_path)
    code = (
        "import sys; from pathlib import Path; from jobs.processes.supervise import take_over; "
        "take_over(Path(sys.argv[1]), [int(sys.argv[2])]); print('held')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, str(lock.fileno())],
        pass_fds=[lock.fileno()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "held\n", done.stderr
    assert is_up(tmp_path)
    lock.close()
    assert not is_up(tmp_path)


def test_a_descriptor_of_another_file_is_no_claim(tmp_path: Path) -> None:
    other = (tmp_path / "other").open("w")
    lock = take_over(tmp_path, [other.fileno(), 999])
    assert os.path.samestat(os.fstat(lock.fileno()), (tmp_path / "run" / LOCK_FILE).stat())
    lock.close()
    other.close()


def test_redis_has_ended_when_its_successor_starts() -> None:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    end_redis(Inherited(children={REDIS: [child.pid]}))
    assert not Path(f"/proc/{child.pid}").exists()
    child.returncode = -signal.SIGTERM  # it was waited for already
    end_redis(Inherited())


def test_only_children_of_the_supervisor_are_earlier_web_processes() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        environ = {VARIABLE: f"{child.pid},1,nonsense,{os.getpid()}"}
        assert earlier_webs(environ, os.getpid()) == [child.pid]
        assert earlier_webs(environ, 1) == []
        assert earlier_webs({}, os.getpid()) == []
        assert end_of_other_users([child.pid], os.getuid()) == [child.pid]
        assert end_of_other_users([child.pid], 65533) == []
        assert child.wait(60) == -signal.SIGTERM
