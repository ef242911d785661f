"""The supervising process: supervisord, kept in the foreground, with habits of its own.

A part is started again for ever, at first at once and then with pauses that grow to half a minute:
supervisord by itself would give up, or wait longer each time. The parts write straight to our own
output, where supervisord would open a file: a journal's socket cannot be opened as one. And one
that is stopped is killed if nobody makes up for it: it holds what the others wait for, or there is
no other of its kind.
"""

import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote

from supervisor import events
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ProcessConfig, ServerOptions
from supervisor.process import Subprocess
from supervisor.states import ProcessStates
from supervisor.supervisord import Supervisor

from jobs.processes.watched import ROUTER, Watched
from jobs.system.proc import children_of
from jobs.system.stopped import FrozenHolders, LongStopped, kill

LONGEST_PAUSE_S = 30


# The library has no types: hence the ignores.
class Part(Subprocess):  # type: ignore[misc]
    """One running part of Keystone."""

    backoff: int = 0  # how often in a row it ended too soon

    def change_state(self, new_state: int, expected: bool = True) -> None:  # noqa: FBT001, FBT002
        """Enter a state; the pause before another start is the number of failures, bounded."""
        if new_state == ProcessStates.BACKOFF:
            self.backoff = min(self.backoff, LONGEST_PAUSE_S - 1)
        super().change_state(new_state, expected)

    def _prepare_child_fds(self) -> None:
        options = self.config.options
        options.dup2(self.pipes["child_stdin"], 0)
        for descriptor in range(3, options.minfds):
            options.close_fd(descriptor)


class PartConfig(ProcessConfig):  # type: ignore[misc]
    """How a part is run."""

    def make_process(self, group: object = None) -> Part:
        """Give the process that is not yet started."""
        process = Part(self)
        process.group = group
        return process


class Options(ServerOptions):  # type: ignore[misc]
    """What the supervisor is told; programs are made with our habits."""

    def processes_from_section(
        self, parser: object, section: str, group_name: str, klass: type | None = None
    ) -> list[PartConfig]:
        """Read one program's section."""
        del klass
        found: list[PartConfig] = super().processes_from_section(
            parser, section, group_name, PartConfig
        )
        for config in found:
            config.startretries = LONGEST_PAUSE_S + 1
        return found

    def cleanup_fds(self) -> None:
        """Leave inherited files open: one of them is the lock on the data directory."""


class Parts(Supervisor):  # type: ignore[misc]
    """All parts, and what they share."""

    def __init__(self, options: Options, watched: Watched) -> None:
        super().__init__(options)
        self._shared = FrozenHolders(watched.mirrors, watched.database)
        self._stopped = LongStopped()
        self._logins = watched.login_copy

    def runforever(self) -> None:
        """Keep the parts running until we are told to stop."""
        events.subscribe(events.Tick5Event, self._look)
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        """Do what is to be done once a second."""
        super().tick(now)
        self._logins.refresh()

    def _look(self, _event: object) -> None:
        for pid in self._shared.look():
            self._tell(f"killed {pid}: it was stopped while it held what others wait for")
        lonely = self._stopped.among(self._lone_processes())
        kill(lonely)
        for pid in lonely:
            self._tell(f"killed {pid}: it was stopped, and there is no other of its kind")

    def _lone_processes(self) -> list[int]:
        groups = [[*group.processes.values()] for group in self.process_groups.values()]
        lone = [part for part, *others in groups if not others]
        # A router that root has started serves in a child of its own.
        serving = (part.pid for part in lone if part.config.name == ROUTER)
        return [
            *(part.pid for part in lone),
            *(child for pid in serving for child in children_of(pid)),
        ]

    def _tell(self, sentence: str) -> None:
        self.options.logger.warn(sentence)  # noqa: G010 — supervisord's own logger


def main(config: Path, watched: Watched) -> None:
    """Run what a configuration asks for, until SIGTERM, SIGINT or SIGHUP; then stop it in order.

    Args:
        config: supervisord's.
    """
    folder = config.parent
    options = Options()
    # By option and not in the file, where a path with a comment sign would be cut.
    options.realize(
        [
            *("-c", str(config)),
            *("-l", "/dev/null", "-y", "0"),
            *("-j", str(folder / "supervisor.pid")),
            *("-q", str(folder)),
        ]
    )
    options.first = True
    options.test = False
    opened = _held_open(watched.database)
    try:
        Parts(options, watched).main()
    except ExitNow:
        options.close_logger()
    finally:
        if opened:
            opened.close()


def _held_open(database: Path | None) -> sqlite3.Connection | None:
    """Have the files beside the database stay for as long as anybody may open it.

    The last to close it removes them. To make them again takes the right to write to the folder,
    which the parts may not have.
    """
    if database is None or not database.exists():
        return None
    address = f"file:{quote(str(database))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        # The parts say what is wrong with it, again and again.
        connection.close()
        return None
    return connection


if __name__ == "__main__":
    main(Path(sys.argv[1]), Watched.from_text(sys.argv[2]))
