"""The hand-over from a running `keystone up` to another version, in the same process.

The supervisor stops the workers and the watcher, and executes the other version's `keystone up` in
its own process: the process id, the terminal and the locks stay. The web process and Redis run on
meanwhile. The new web process ends the earlier one when it can serve itself.

What the supervisor and `keystone up` tell each other is in the environment, in variables that are
removed before any part starts.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import NoReturn

from jobs.processes.versions import Undo, Version

# The variables of this module. Names that begin with KEYSTONE_ would count as settings.
GIVEN, INHERITED = "_GIVEN_TO_KEYSTONE", "_INHERITED_BY_KEYSTONE"
UNDOING = "_UNDOING_FOR_KEYSTONE"  # tells `migrate --to` that no part runs
PATH = "PYTHONPATH"
HAND_OVER = signal.SIGUSR1  # for the supervisor; supervisord uses SIGHUP and SIGUSR2 itself
REDIS, WEB = "redis", "web"
ENDS_WITHIN_S, POLL_S = 10.0, 0.02
UNDONE_WITHIN_S = 600


@dataclass(frozen=True)
class Given:
    """How `keystone up` was started, so that another version can be started in the same way.

    Attributes:
        version: the version that runs.
        folder: the folder it was started in.
        prefix: how the names of its settings begin.
        variables: its settings and PYTHONPATH, as they were in the environment.
        words: the options of the command.
        claims: the open files that hold the locks on the data directory and the identity.
    """

    version: Version
    folder: str
    prefix: str
    variables: Mapping[str, str]
    words: Sequence[str] = ()
    claims: Sequence[int] = ()

    def to_text(self) -> str:
        """Encode it as the value of a variable."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Given":
        """Parse the output of `to_text`."""
        read = json.loads(text)
        return cls(**{**read, "version": Version(**read["version"])})

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Give an environment like this one, with the settings as they were given.

        Args:
            environ: the present environment.
        """
        others = {
            name: value
            for name, value in environ.items()
            if not name.startswith(self.prefix) and name not in {PATH, GIVEN, INHERITED}
        }
        return {**others, **self.variables}


def code_first(version: Version, environ: Mapping[str, str]) -> dict[str, str]:
    """Give an environment in which Python imports Keystone from a version's copy of the code."""
    path = os.pathsep.join(filter(None, (version.code, environ.get(PATH, ""))))
    return {**environ, PATH: path}


def note_given(
    version: Version,
    environ: Mapping[str, str],
    prefix: str,
    words: Sequence[str],
    *,
    forget: Sequence[str] = (),
) -> Given:
    """Remember how this `keystone up` was started, before its environment is changed.

    Args:
        words: its options.
        forget: names that a later version does not need.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith(prefix) and name not in forget
    }
    # A version that was started from a copy has that copy in front of its PYTHONPATH.
    path = [each for each in environ.get(PATH, "").split(os.pathsep) if each]
    if others := [each for each in path if each != version.code]:
        kept[PATH] = os.pathsep.join(others)
    return Given(version, os.getcwd(), prefix, kept, tuple(words))  # noqa: PTH109 — a text


@dataclass(frozen=True)
class Inherited:
    """What the version that ran before leaves to this one, in the same process.

    Attributes:
        claims: open files, which hold the locks.
        children: the process ids of its parts that still run, by name.
        before: that version; None when this `keystone up` was not started by a hand-over.
    """

    claims: Sequence[int] = ()
    children: Mapping[str, Sequence[int]] = field(default_factory=dict)
    before: Version | None = None
    is_handed_over: bool = False

    def to_text(self) -> str:
        """Encode it as the value of a variable."""
        return json.dumps(asdict(self))


def inherit(environ: MutableMapping[str, str]) -> Inherited:
    """Take what the version before has left from the environment."""
    environ.pop(GIVEN, None)
    try:
        read = json.loads(environ.pop(INHERITED, "{}"))
        if before := read.get("before"):
            read["before"] = Version(**before)
        return Inherited(**read)
    except (TypeError, ValueError, AttributeError):
        return Inherited()


def end_redis(inherited: Inherited) -> None:
    """End the inherited Redis, because the next one uses the same socket."""
    for pid in inherited.children.get(REDIS, ()):
        _kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDS_WITHIN_S
        while not _has_ended(pid):
            if time.monotonic() > deadline:
                _kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # it has ended, or was never ours
        return True


def become(
    version: Version, given: Given, inherited: Inherited, *, undo: Undo | None = None
) -> NoReturn:
    """Replace this process with another version's `keystone up`.

    Args:
        given: how this one was started.
        inherited: what to leave to the other one.
        undo: a change of the schema to undo first.

    Raises:
        OSError: the interpreter cannot be executed.
    """
    with suppress(OSError):
        os.chdir(given.folder)
    if undo:
        undo_schema(undo, given)
    for descriptor in inherited.claims:
        with suppress(OSError):  # it is closed: the other version claims it again
            os.set_inheritable(descriptor, True)  # noqa: FBT003 — the name says it
    environ = code_first(version, given.environment(os.environ))
    environ[INHERITED] = inherited.to_text()
    command = [version.python, "-P", "-m", "jobs.cli", "up", *given.words]
    os.execve(command[0], command, environ)  # noqa: S606 — an argument list, no shell


def undo_schema(undo: Undo, given: Given) -> bool:
    """Bring the database back to an earlier schema; return whether that worked."""
    command = (undo.by.python, "-P", "-m", "jobs.cli", "migrate", "--to", undo.schema)
    try:
        done = subprocess.run(  # noqa: S603 — our own command line, no shell
            command,
            cwd=given.folder,
            env={**code_first(undo.by, given.environment(os.environ)), UNDOING: "1"},
            stdin=subprocess.DEVNULL,
            timeout=UNDONE_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
