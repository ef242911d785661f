"""What the kernel says of processes."""

import os
import subprocess
import sys

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


def test_descendants_of_a_process_are_found() -> None:
    us, parent = os.getpid(), os.getppid()
    assert is_below(us, us)
    assert is_below(us, parent)
    assert not is_below(parent, us)
    assert not is_below(NOBODY, us)
