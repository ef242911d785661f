"""A standby child process: forked and warmed up before there is work for it.

A fresh child is slow at first: it copies memory shared with its parent page by page, opens
connections and compiles SQL statements. A standby child has done this before its work arrives.
"""

import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jobs.system.die_with_parent import die_with, give_own_group

LONGEST_MESSAGE = 4096  # bytes; a write of up to this size to a pipe is atomic
NAME = "standby"  # what `ps` and `top` show until there is work
NAME_AT_WORK = "deployment"

Preparation = Callable[[], object]


@dataclass(frozen=True)
class Standby:
    """A child that waits for one message, acts on it, and ends."""

    pid: int
    pipe: int

    @classmethod
    def fork(cls, preparations: Sequence[Preparation], act: Callable[[str], object]) -> "Standby":
        """Fork a child that prepares until a message arrives; it dies with its parent.

        Call this from the main thread: the kernel kills the child when the forking thread ends.
        """
        parent = os.getpid()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            _live(parent, reader, preparations, act)
        os.close(reader)
        give_own_group(pid)
        return cls(pid, writer)

    def hand_over(self, message: str) -> bool:
        """Send the child a message to act on; False when the child has died, and reap it then."""
        try:
            os.write(self.pipe, message.encode())
        except BrokenPipeError:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            return False
        finally:
            os.close(self.pipe)
        return True


def _live(
    parent: int, pipe: int, preparations: Sequence[Preparation], act: Callable[[str], object]
) -> NoReturn:
    status = os.EX_SOFTWARE
    try:
        os.setpgrp()
        if die_with(parent):
            _act(pipe, preparations, act)
            status = os.EX_OK
    finally:
        # The child must never return into the parent's code.
        os._exit(status)


def _act(pipe: int, preparations: Sequence[Preparation], act: Callable[[str], object]) -> None:
    _call_it(NAME)
    for prepare in preparations:
        if select.select([pipe], [], [], 0)[0]:
            break
        prepare()
    # Empty when the parent has closed its end.
    if message := os.read(pipe, LONGEST_MESSAGE):
        _call_it(NAME_AT_WORK)
        act(message.decode())


def _call_it(name: str) -> None:
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="utf-8")
