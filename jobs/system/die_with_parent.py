"""Becoming another program that has few rights and cannot outlive its parent.

`python -m jobs.system.die_with_parent PARENT [--rights RIGHTS] [--without NAME,NAME]
[--with NAME=VALUE] PROGRAM …`

`keystone up` starts each of its parts through this. When the supervisor is killed outright nobody
is left to stop its children, so the kernel does. It runs before each part, so it imports little.

    --rights   whom to become, as `Rights.to_text` writes it; without it nobody else
    --without  names of environment variables that the program is not told
    --with     an environment variable that the program is told
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from jobs.system.privileges import Rights, gain_nothing, take_on

PR_SET_PDEATHSIG = 1
EXIT_ORPHANED = 1
EXIT_CANNOT_RUN = 127
RIGHTS, WITHOUT, WITH = "--rights", "--without", "--with"


def die_with(parent: int) -> bool:
    """Have the kernel kill this process as soon as its parent dies, also after an exec.

    Args:
        parent: the process id the parent must have.

    Returns:
        False when the parent was gone already, so that nothing would ever kill this process.

    Source: prctl(2), PR_SET_PDEATHSIG (read 2026-11-23).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return False
    # It may have died between the fork and the call above: the kernel tells only of later deaths.
    return os.getppid() == parent


def give_own_group(child: int) -> None:
    """Have a child lead a process group of its own, so that who kills the group kills only it.

    The child does the same first thing. Until it has, its group is ours, and everybody else's who
    was started together with us; one that was stopped at that moment would never get there.
    """
    with suppress(ProcessLookupError):
        os.setpgid(child, child)


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the program named after the parent's process id and the options, or exit."""
    parent, *rest = arguments
    rights, environ, command = _read(rest)
    try:
        gain_nothing() if rights is None else take_on(rights)
        # Last: the kernel forgets it when a process becomes another user.
        if not die_with(int(parent)):
            sys.exit(EXIT_ORPHANED)
        os.execvpe(command[0], command, environ)  # noqa: S606 — an argument list, no shell
    except OSError as exc:
        sys.stderr.write(f"{command[0]}: {exc.strerror}\n")
        sys.exit(EXIT_CANNOT_RUN)


def _read(arguments: list[str]) -> tuple[Rights | None, dict[str, str], list[str]]:
    """Take the command line apart: rights, environment, program with its arguments."""
    rights, environ = None, dict(os.environ)
    while arguments[0] in {RIGHTS, WITHOUT, WITH}:
        option, value, *arguments = arguments
        if option == RIGHTS:
            rights = Rights.from_text(value)
        elif option == WITHOUT:
            environ = {name: environ[name] for name in environ if name not in value.split(",")}
        else:
            name, _, text = value.partition("=")
            environ[name] = text
    return rights, environ, arguments


if __name__ == "__main__":
    main(sys.argv[1:])
