"""Runs git: the only code that starts git processes, limits their output and ends them."""

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial

from jobs.adapters.git.commands import SEARCH_PATH
from jobs.errors import GitError
from jobs.rules.stopping import StopSignal

PIECE = 64 * 1024
LONGEST_COMPLAINT = 64 * 1024
LONGEST_OUTPUT = 1024 * 1024
LOCAL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Finished:
    """The result of a git command."""

    status: int
    output: bytes
    complaint: bytes  # the end of standard error
    cut: bool = False  # whether git was killed because its output exceeded the limit


def run(
    arguments: list[str],
    environment: dict[str, str],
    *,
    stop: StopSignal | None = None,
    timeout_s: float = LOCAL_TIMEOUT_S,
    most_output: int = LONGEST_OUTPUT,
    has_helpers: bool = False,
) -> Finished:
    """Run git to completion; git and its helper processes never outlive the call.

    Args:
        has_helpers: whether git talks to a server; if so, git ends when its worker is killed.

    Raises:
        GitError: git is not installed, or took too long.
        KeystoneError: the error that `stop` was set with.
    """
    signal_ = stop or StopSignal()
    with (
        running(arguments, environment, stderr=subprocess.PIPE, has_helpers=has_helpers) as process,
        signal_.cuts(partial(kill, process)),
    ):
        try:
            return _collect(process, time.monotonic() + timeout_s, most_output)
        except TimeoutError:
            raise GitError(f"git took longer than {timeout_s:g} s and was ended") from None


@contextmanager
def running(
    arguments: list[str],
    environment: dict[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    has_helpers: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run git during the block; when the block ends, git and its helpers are killed.

    The same thread must enter and leave the block: the kernel kills git when the thread that
    started it ends.
    """
    with subprocess.Popen(  # noqa: S603 - an argument list made by `commands`, no shell
        [*(_launcher() if has_helpers else (_git(),)), *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        env=environment,
        cwd="/",
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill git and its helpers at once. An ended git is fine."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def receive(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Read the next chunk of git's output, at most 64 KiB; empty at the end of the output.

    Raises:
        GitError: git wrote nothing before the deadline (of `time.monotonic`).
    """
    pipe = process.stdout
    if pipe is None:  # pragma: no cover
        raise GitError("git was started without a pipe")
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(max(deadline - time.monotonic(), 0)):
            raise GitError("git stopped answering")
    return os.read(pipe.fileno(), PIECE)


@cache
def _git() -> str:
    git = _found("git")
    if git is None:
        raise GitError("git is not installed; install the package git")
    return git


@cache
def _launcher() -> tuple[str, ...]:
    """Give the command prefix for a git that may hang, so that it ends when its worker is killed.

    A git that only reads the mirror needs none: it ends when its pipes close.

    Setting the parent-death signal between fork and exec is unsafe in a process with threads;
    util-linux's `setpriv` sets it after exec. The signal reaches only one process, but git's
    helpers may hang in a network read: `timeout`, here without a time limit, forwards the signal to
    its whole process group.
    """
    setpriv, timeout = _found("setpriv"), _found("timeout")
    if setpriv is None or timeout is None:
        return (_git(),)
    return (setpriv, "--pdeathsig", "TERM", "--", timeout, "0", _git())


def _found(program: str) -> str | None:
    return shutil.which(program, path=SEARCH_PATH)


def _collect(process: subprocess.Popen[bytes], deadline: float, most_output: int) -> Finished:
    output, complaint = bytearray(), bytearray()
    for piece, of_output in _pieces(process, deadline):
        if of_output:
            output += piece
            if len(output) > most_output:
                return Finished(-signal.SIGKILL, bytes(output[:most_output]), b"", cut=True)
        else:
            complaint += piece
            del complaint[:-LONGEST_COMPLAINT]
    try:
        status = process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return Finished(status, bytes(output), bytes(complaint))


def _pieces(process: subprocess.Popen[bytes], deadline: float) -> Iterator[tuple[bytes, bool]]:
    """Give git's chunks as they arrive, each with whether it is from stdout (else from stderr)."""
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, PIECE)
                if piece:
                    yield piece, key.fileobj is process.stdout
                else:
                    selector.unregister(key.fileobj)
