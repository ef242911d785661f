"""What the kernel says of processes."""

import os
import resource
import subprocess
import sys

import pytest

from jobs.system.proc import is_below, is_there
from tests.jobs.bench import wait_for

NOBODY = 2**22 + 1  # above the highest number there can be


def test_a_zombie_counts_as_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_there(process.pid)
        process.kill()
        # Nobody has waited for it: it is a zombie.
        wait_for(lambda: not is_there(process.pid))
    assert not is_there(NOBODY)


def test_a_process_that_proc_cannot_show_is_not_taken_for_dead() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))  # no file can be opened any more
    try:
        found = is_there(os.getpid()), is_there(NOBODY), is_there(2**80), is_there(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == (True, False, False, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide processes and change its user")
def test_a_hidden_process_of_another_user_is_not_taken_for_dead() -> None:
    code = "from jobs.system.proc import is_there; import sys; print(is_there(int(sys.argv[1])))"
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    hidden = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hidden, "sh", *as_nobody, sys.executable]
    done = subprocess.run(
        [*command, "-c", code, str(os.getpid())], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "True"


def test_descendants_of_a_process_are_found() -> None:
    us, parent = os.getpid(), os.getppid()
    assert is_below(us, us)
    assert is_below(us, parent)
    assert not is_below(parent, us)
    assert not is_below(NOBODY, us)
