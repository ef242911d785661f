"""The web process of the version before, which serves until the new web process can.

After a hand-over (`jobs.processes.hand_over`) both are children of the same supervisor. The new one
ends the earlier one at the end of its own start, and takes the port over within milliseconds.
"""

import errno
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from jobs.system.listening import bind_error
from jobs.system.proc import children_of, is_there, user_of

VARIABLE = "_EARLIER_WEB_OF_KEYSTONE"
FREE_WITHIN_S, POLL_S = 10.0, 0.005


def earlier_webs(environ: Mapping[str, str], supervisor: int) -> list[int]:
    """Give the process ids of the earlier web processes that still run.

    Args:
        supervisor: only its children count, because process ids are used again.
    """
    named = [int(pid) for pid in environ.get(VARIABLE, "").split(",") if pid.isdecimal()]
    children = children_of(supervisor) if named else []
    return [pid for pid in named if pid in children and is_there(pid)]


def as_text(pids: Sequence[int]) -> str:
    """Give the variable's value for some process ids."""
    return ",".join(map(str, pids))


def end_of_other_users(pids: Sequence[int], uid: int) -> list[int]:
    """End those of these processes that a process of a user could not end; give the others."""
    if uid == 0:
        return list(pids)
    others = [pid for pid in pids if user_of(pid) != uid]
    for pid in others:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return [pid for pid in pids if pid not in others]


def take_port_over(host: str, port: int) -> None:
    """End the earlier web processes, and wait until the port is free, for some seconds at most."""
    earlier = earlier_webs(os.environ, os.getppid())
    for pid in earlier:
        # If its user is another one, the supervisor ends it.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + FREE_WITHIN_S
    while earlier and _is_used(host, port) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _is_used(host: str, port: int) -> bool:
    error = bind_error(host, port)
    return error is not None and error.errno == errno.EADDRINUSE
