"""Doing one thing as another user: in a child process, whose answer is a sentence."""

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from jobs.system.die_with_parent import die_with
from jobs.system.privileges import Rights, take_on

PATIENCE_S = 30.0
LONGEST_ANSWER = 64 * 1024  # bytes
NO_ANSWER = "there was no answer within {0:g} s"

Act = Callable[[], str]


def run_as(rights: Rights, act: Act, *, patience_s: float = PATIENCE_S) -> str:
    """Call something in a child process with these rights, and give what it returns.

    Only root may do so. The child has the open files of this process, and ends with the call. To be
    called by the main thread: the kernel ends the child with the thread that forked it.

    Returns:
        what `act` gives, cut to 64 KiB; the sentence of an exception that it raises; a sentence
        when it does not return in time, or the kernel does not let us take on these rights.
    """
    parent, (reader, writer) = os.getpid(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _answer(parent, writer, rights, act)
    os.close(writer)
    try:
        answer = _read(reader, time.monotonic() + patience_s)
        return NO_ANSWER.format(patience_s) if answer is None else answer
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _answer(parent: int, writer: int, rights: Rights, act: Act) -> None:
    try:
        take_on(rights)
        told = act() if die_with(parent) else ""
    except BaseException as exc:  # noqa: BLE001 — it must not get back into the parent's code
        told = str(exc) or type(exc).__name__
    try:
        # A mark at the end, so that nothing can be told from no answer.
        os.write(writer, told.encode(errors="replace")[:LONGEST_ANSWER] + b"\0")
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> str | None:
    """Give the whole answer; None when the child ended, or the time is over, before its end."""
    answer = b""
    while not answer.endswith(b"\0"):
        left = max(deadline - time.monotonic(), 0)
        if not select.select([reader], [], [], left)[0]:
            return None
        piece = os.read(reader, LONGEST_ANSWER)
        if not piece:
            return None
        answer += piece
    return answer[:-1].decode(errors="replace")
