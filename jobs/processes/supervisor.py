"""The supervisor process: supervisord in the foreground, with changed behaviour.

A part is always restarted, at first at once and then with a back-off of up to 30 s: plain
supervisord would give up, or wait longer each time. The parts write directly to our own output.
supervisord would open it as a file, which fails for a journal's socket. A stopped (SIGSTOP) part is
killed if it holds a lock that others need, or if no other process does its work.

On SIGUSR1 it hands over to the version in `next.json`: see `jobs.processes.hand_over`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from supervisor import events
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ProcessConfig, ServerOptions
from supervisor.process import Subprocess
from supervisor.states import ProcessStates, SupervisorStates, getProcessStateDescription
from supervisor.supervisord import Supervisor

from jobs.errors import KeystoneError, RouterError
from jobs.processes.hand_over import GIVEN, HAND_OVER, REDIS, WEB, Given, Inherited, become
from jobs.processes.readiness import Readiness
from jobs.processes.router_control import is_kept, router_pids, router_state, start_keeper
from jobs.processes.supervise import SUPERVISOR_PID, keystone_command
from jobs.processes.versions import Next, read_next, write_parts
from jobs.processes.watched import Watched
from jobs.processes.web_first import WebFirst
from jobs.storage.kept_open import kept_open
from jobs.system.earlier_web import VARIABLE as EARLIER_WEBS
from jobs.system.earlier_web import earlier_webs
from jobs.system.notify import Notifier
from jobs.system.router_files import RELOAD_WANTED
from jobs.system.stopped import FrozenHolders, LongStopped, kill

LONGEST_PAUSE_S = 30
MEND_EVERY_S = 30.0
EARLIER_WEB = "earlier web"
# The earlier web process serves for that long at most. Longer than an upgrade waits before it goes
# back to the earlier version.
WEB_STARTS_WITHIN_S = 120


# The library has no types: hence the ignores.
class Part(Subprocess):  # type: ignore[misc]
    """One running part of Keystone."""

    backoff: int = 0  # the number of consecutive starts after which the part ended too soon

    def change_state(self, new_state: int, expected: bool = True) -> None:  # noqa: FBT001, FBT002
        """Enter a state; limit the back-off, which is the number of failures in seconds."""
        if new_state == ProcessStates.BACKOFF:
            self.backoff = min(self.backoff, LONGEST_PAUSE_S - 1)
        super().change_state(new_state, expected)

    def transition(self) -> None:
        """Start, or follow the process's state; wait for the web process at first."""
        if self.config.options.web_first.may_start(self.group.config.name):
            super().transition()

    def _prepare_child_fds(self) -> None:
        options = self.config.options
        options.dup2(self.pipes["child_stdin"], 0)
        for descriptor in range(3, options.minfds):
            options.close_fd(descriptor)


class PartConfig(ProcessConfig):  # type: ignore[misc]
    """The configuration of a part."""

    def make_process(self, group: object = None) -> Part:
        """Create the process object, without starting the process."""
        process = Part(self)
        process.group = group
        return process


class Options(ServerOptions):  # type: ignore[misc]
    """The supervisor's options; they create programs with the changed behaviour."""

    web_first: WebFirst

    def processes_from_section(
        self, parser: object, section: str, group_name: str, klass: type | None = None
    ) -> list[PartConfig]:
        """Parse one program's section."""
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
    """The supervisor of all parts and of their shared resources."""

    def __init__(
        self, options: Options, watched: Watched, folder: Path, given: Given | None
    ) -> None:
        super().__init__(options)
        self.next: Next | None = None  # the version to hand over to
        self._folder, self._given = folder, given
        self._is_told = False
        self._noted: dict[str, object] = {}
        self._web_is_late_at = time.monotonic() + WEB_STARTS_WITHIN_S
        lock = watched.router_lock
        self._shared = FrozenHolders(watched.mirrors, watched.database, *([lock] if lock else []))
        self._run_dir = watched.run_dir
        self._keeper = watched.keeper
        self._reload_wanted = lock.with_name(RELOAD_WANTED) if lock else None
        self._next_mending = 0.0
        self._stopped = LongStopped()
        self._logins = watched.login_copy
        self._readiness = Readiness(Notifier.from_environment(os.environ), *watched.web)

    def runforever(self) -> None:
        """Keep the parts running until we are told to stop."""
        events.subscribe(events.Tick5Event, self._look)
        events.subscribe(events.SupervisorStoppingEvent, lambda _event: self._readiness.stop())
        # Not with supervisord's own signals: a later one can take an earlier one's place there.
        signal.signal(HAND_OVER, self._note_hand_over)
        # supervisord itself would wait for a second before it starts the first part.
        for group in sorted(self.process_groups.values()):
            group.transition()
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        """Run the tasks that are due every second."""
        super().tick(now)
        self._logins.refresh()
        self._have_keeper()
        self._readiness.look(self._running())
        self._note_parts()
        if self._is_told:
            self._look_at_next()
        if self.next and self.options.mood >= SupervisorStates.RUNNING:
            self._prepare_hand_over(self.next)

    def _note_hand_over(self, _number: int, _frame: object) -> None:
        self._is_told = True

    def _look_at_next(self) -> None:
        """Find out to which version to hand over."""
        self._is_told = False
        self.next = read_next(self._folder) if self._given else None
        if self.next is None:
            self._tell("told to hand over, but no usable version is named in next.json")
        else:
            self._readiness.hand_over()

    def left(self) -> dict[str, list[int]]:
        """Give the process ids of the parts that stay for the next version, by name."""
        running = {
            name: [part.pid for part in self.process_groups[name].processes.values() if part.pid]
            for name in (REDIS, WEB)
            if name in self.process_groups
        }
        return {**running, WEB: [*running.get(WEB, []), *self._earlier_webs()]}

    def _earlier_webs(self) -> list[int]:
        found = earlier_webs(os.environ, os.getpid())
        if not found:
            os.environ.pop(EARLIER_WEBS, None)
        return found

    def _end_earlier_webs(self) -> None:
        for pid in self._earlier_webs():
            os.kill(pid, signal.SIGTERM)

    def _prepare_hand_over(self, wanted: Next) -> None:
        """Stop the parts step by step; the web process and Redis stay for the next version."""
        if not self._are_stopped({REDIS, WEB}):
            return
        if wanted.stops_web:
            self._end_earlier_webs()
            if not self._are_stopped({REDIS}) or self._earlier_webs():
                return
        raise ExitNow

    def _are_stopped(self, stays: set[str]) -> bool:
        """Whether all parts but those that stay are stopped; stop them if they are not."""
        groups = [group for name, group in self.process_groups.items() if name not in stays]
        for group in groups:
            group.stop_all()
        return not any(group.get_unstopped_processes() for group in groups)

    def _note_parts(self) -> None:
        """Store the state of each part when one has changed."""
        found = {
            part.config.name: [part.pid, getProcessStateDescription(part.state)]
            for group in self.process_groups.values()
            for part in group.processes.values()
        }
        if earlier := self._earlier_webs():
            found[EARLIER_WEB] = [earlier[0], "still serves"]
            if time.monotonic() > self._web_is_late_at:
                # It has another user than the new one, or the new one does not get ready.
                self._end_earlier_webs()
        if found != self._noted and self._given:
            self._noted = dict(found)
            try:
                write_parts(self._folder, found)
            except KeystoneError as exc:
                self._tell(str(exc))

    def _mend_router(self) -> None:
        """Have the configuration written again when HAProxy does not start with it, or lacks some.

        Since it was written, another program may have taken a port, or an app's settings changed.
        """
        state = router_state(self._run_dir) if self._run_dir else None
        is_down = state is not None and not state.haproxy and state.error
        is_wanted = self._reload_wanted is not None and self._reload_wanted.exists()
        if not (is_down or is_wanted) or time.monotonic() < self._next_mending:
            return
        self._next_mending = time.monotonic() + MEND_EVERY_S
        if is_down:
            self._tell("the router does not start: its configuration is written again")
        subprocess.Popen(  # noqa: S603 — our own command line; supervisord reaps its end
            keystone_command("router", "--reload"), stdin=subprocess.DEVNULL
        )

    def _have_keeper(self) -> None:
        """Start the router's keeper if there is none; it outlives us."""
        if not self._keeper or self._run_dir is None or is_kept(self._run_dir):
            return
        if self.options.mood < SupervisorStates.RUNNING:  # we stop, and `keystone down` stops it
            return
        try:
            start_keeper(self._keeper)
            self._tell("started the router's keeper: there was none")
        except RouterError as exc:
            self._tell(str(exc))

    def _running(self) -> dict[str, bool]:
        return {
            name: all(part.pid for part in group.processes.values())
            for name, group in self.process_groups.items()
        }

    def _look(self, _event: object) -> None:
        self._mend_router()
        for pid in self._shared.look():
            self._tell(f"killed {pid}: it was stopped while it held a lock that others need")
        lonely = self._stopped.among(self._lone_processes())
        kill(lonely)
        for pid in lonely:
            self._tell(f"killed {pid}: it was stopped, and no other process does its work")

    def _lone_processes(self) -> list[int]:
        groups = [[*group.processes.values()] for group in self.process_groups.values()]
        lone = [part.pid for part, *others in groups if not others]
        # The router and its keeper are processes of their own, which nobody else looks after.
        return [*lone, *(router_pids(self._run_dir) if self._run_dir else [])]

    def _tell(self, sentence: str) -> None:
        self.options.logger.warn(sentence)  # noqa: G010 — supervisord's own logger


def main(config: Path, watched: Watched) -> None:
    """Run the configured programs until SIGTERM, SIGINT or SIGHUP; then stop them in order.

    Args:
        config: supervisord's configuration file.
    """
    folder = config.parent
    options = Options()
    # Pass paths as options: in the configuration file, a path with a comment sign would be cut.
    options.realize(
        [
            *("-c", str(config)),
            *("-l", "/dev/null", "-y", "0"),
            *("-j", str(folder / SUPERVISOR_PID)),
            *("-q", str(folder)),
        ]
    )
    options.first = True
    options.test = False
    options.web_first = WebFirst(*watched.web)
    given = os.environ.pop(GIVEN, "")
    parts = Parts(options, watched, folder, Given.from_text(given) if given else None)
    with kept_open(watched.database):
        try:
            parts.main()
        except ExitNow:
            options.close_logger()
        if parts.next and given and options.mood >= SupervisorStates.RUNNING:
            # The database stays open: closing it would remove files that the web process needs.
            _hand_over(parts, parts.next, Given.from_text(given))


def _hand_over(parts: Parts, wanted: Next, given: Given) -> None:
    left = Inherited(given.claims, parts.left(), given.version, is_handed_over=True)
    try:
        become(wanted.version, given, left, undo=wanted.undo)
    except OSError:
        # Its interpreter has disappeared.
        become(given.version, given, left)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Watched.from_text(sys.argv[2]))
