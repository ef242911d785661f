"""Executes another program with few rights, which cannot outlive its parent.

`python -m jobs.system.die_with_parent PARENT [--rights RIGHTS] [--without NAME,NAME]
[--with NAME=VALUE] PROGRAM …`

`keystone up` starts each of its parts through this module. When the supervisor is killed with
SIGKILL, it cannot stop its children, so the kernel kills them. The module runs before each part, so
it imports little.

    --rights   the user and rights to take on, in the form of `Rights.to_text`; default: unchanged
    --without  names of environment variables to remove for the program
    --with     an environment variable to set for the program
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
    """Make the kernel kill this process as soon as its parent dies, even after an exec.

    Args:
        parent: the expected process id of the parent.

    Returns:
        False when the kernel refuses, or the parent has already ended: then nothing would ever
        kill this process.

    Source: prctl(2), PR_SET_PDEATHSIG (read 2026-11-23).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return False
    # The parent may have died between the fork and prctl, which only covers later deaths.
    return os.getppid() == parent


def give_own_group(child: int) -> None:
    """Put a child into its own process group, so that killing the group kills only the child.

    The child does the same at its start. Until then it is in our group, together with all processes
    that were started with us; a child that is stopped (SIGSTOP) before that would stay there.
    """
    with suppress(ProcessLookupError):
        os.setpgid(child, child)


def main(arguments: Sequence[str]) -> NoReturn:
    """Execute the program given after the parent's process id and the options, or exit."""
    parent, *rest = arguments
    rights, environ, command = _read(rest)
    try:
        gain_nothing() if rights is None else take_on(rights)
        # After the change of user, which makes the kernel forget the parent-death signal.
        if not die_with(int(parent)):
            sys.exit(EXIT_ORPHANED)
        os.execvpe(command[0], command, environ)  # noqa: S606 — an argument list, no shell
    except OSError as exc:
        sys.stderr.write(f"{command[0]}: {exc.strerror}\n")
        sys.exit(EXIT_CANNOT_RUN)


def _read(arguments: list[str]) -> tuple[Rights | None, dict[str, str], list[str]]:
    """Parse the command line into rights, environment, and program with arguments."""
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
