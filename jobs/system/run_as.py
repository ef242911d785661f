"""Runs one function as another user, in a child process that answers with a sentence."""

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
    """Call a function in a child process with these rights, and give its result.

    Only root may call it. The child inherits the open files of this process, and ends with the
    call. Call it from the main thread: the kernel kills the child when the thread that forked it
    ends.

    Returns:
        the result of `act`, cut to 64 KiB; the message of an exception that it raises; a sentence
        when it does not return in time, or when the kernel refuses these rights.
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
    except BaseException as exc:  # noqa: BLE001 — it must not reach the parent's code
        told = str(exc) or type(exc).__name__
    try:
        # An end mark distinguishes an empty answer from a missing answer.
        os.write(writer, told.encode(errors="replace")[:LONGEST_ANSWER] + b"\0")
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> str | None:
    """Read the whole answer; None when the child ends or the deadline passes before its end."""
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
