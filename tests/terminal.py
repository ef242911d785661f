"""A command at a real terminal, and what a person sees there."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping

import pyte

COLUMNS, LINES = 200, 60
WITHIN_S = 120


def at_terminal(environ: Mapping[str, str], *arguments: str) -> str:
    """Run `keystone …` with its output at a terminal, and give what it has written there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", **environ},
    )
    os.close(theirs)
    written = b""
    try:
        while piece := _read(ours):
            written += piece
    finally:
        os.close(ours)
        process.wait(timeout=WITHIN_S)
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 64 * 1024)
    except OSError:  # nobody has the other end open any more
        return b""


def seen(written: str, *, columns: int = COLUMNS) -> list[str]:
    """Give the lines that a terminal shows of what was written to it."""
    screen = pyte.Screen(columns, LINES)
    pyte.Stream(screen).feed(written)
    return [line.rstrip() for line in screen.display if line.strip()]
