"""The upgrade itself: hand over to the new version, wait, and go back if it does not get ready."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.errors import KeystoneError
from jobs.processes.hand_over import code_first
from jobs.processes.supervise import is_supervisor, is_up
from jobs.processes.versions import (
    Next,
    Running,
    Undo,
    Version,
    forget_failed,
    forget_next,
    note_failed,
    read_parts,
    read_running,
    write_next,
)
from jobs.records.upgrades import note_upgrade
from jobs.rules.actors import Actor
from jobs.settings import AllSettings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import HEAD, allows, ensure_schema, schema_version
from jobs.upgrade.preparing import Plan, Tell
from jobs.upgrade.watching import (
    BACK_WITHIN_S,
    Eye,
    tail_of_output,
    tell_to_hand_over,
)

STARTED_AGAIN_WITHIN_S = 10.0  # by systemd, or whatever else has started it
KILLED_WITHIN_S = 10.0
BACK_TRIES = 3
POLL_S = 0.1
OUTPUT = "keystone.log"  # in the run folder, for a Keystone that this command has to start


class UpgradeError(KeystoneError):
    """The new version did not get ready; the message says why, and what runs now."""


@dataclass(frozen=True)
class Upgrade:
    """One upgrade.

    Attributes:
        before: the version that runs.
        after: the version that shall run.
        tell: called with each line of progress.
    """

    settings: AllSettings
    before: Running
    after: Version
    eye: Eye
    actor: Actor
    tell: Tell

    @property
    def _run_dir(self) -> Path:
        return self.settings.run_dir

    def run(self, plan: Plan) -> None:
        """Hand over to the new version.

        Raises:
            UpgradeError: the new version did not get ready; the one before runs again, or nothing.
        """
        forget_failed(self._run_dir)
        if plan.changes_schema and plan.is_compatible:
            self._migrate()
            self.tell(f"the database has schema {HEAD}")
        wanted = Next(self.after, stops_web=plan.changes_schema and not plan.is_compatible)
        problem = self._hand_over(wanted, self.before)
        if not problem:
            self.tell("the new version has started; waiting until it is ready")
            problem = self.eye.wait_until_ready()
        if problem:
            raise self._go_back(problem)
        self._settle()

    def finish(self) -> None:
        """Complete an upgrade that was interrupted after the new version had started.

        Raises:
            UpgradeError: as `run`.
        """
        if problem := self.eye.wait_until_ready():
            raise self._go_back(problem)
        self._settle()

    def _settle(self) -> None:
        forget_next(self._run_dir)
        forget_failed(self._run_dir)
        self._note(problem="")

    def _migrate(self) -> None:
        with closing(Database(self.settings.effective_database_url)) as database:
            ensure_schema(database, lock_file=self.settings.data_dir / "migrate.lock")

    def _hand_over(self, wanted: Next, running: Running) -> str:
        """Let the supervisor hand over; return the problem, empty if there is none."""
        write_next(self._run_dir, wanted)
        self.tell("the workers and the watcher finish, or hand back, what they are doing")
        with _held(self.settings, self._is_web_stopping if wanted.stops_web else None):
            try:
                tell_to_hand_over(running.pid)
            except OSError as exc:
                return f"`keystone up` cannot be told to hand over ({exc.strerror})"
            return self.eye.wait_until_replaced(wanted.version, running.started_at)

    def _is_web_stopping(self) -> bool:
        parts = read_parts(self._run_dir) or {}
        others = [state for name, (_, state) in parts.items() if name not in {"web", "redis"}]
        return bool(others) and not {"RUNNING", "STOPPING", "STARTING"} & set(others)

    # --- The way back ------------------------------------------------------------------------

    def _go_back(self, problem: str) -> UpgradeError:
        """Let the version before run again; return the error that tells everything."""
        now = read_running(self._run_dir)
        said = tail_of_output(now.pid) if now else []
        self.tell(f"the new version is not ready: {problem}")
        old = self.before.version
        note_failed(self._run_dir, self.after, problem)
        undo = None if self._old_can_run() else Undo(self.after, old.schema)
        wanted = Next(old, undo, stops_web=bool(undo))
        write_next(self._run_dir, wanted)
        self._bring_back(wanted)
        still = self.eye.wait_until_ready(BACK_WITHIN_S)
        forget_next(self._run_dir)
        self._note(problem=problem)
        lines = [f"the new version did not get ready: {problem}", *(f"  {line}" for line in said)]
        running = self.eye.running()
        if still or running is None or not running.version.is_same(old):
            still = still or "another version runs"
            lines.append(f"{old.in_words} was started again, but is not ready either: {still}")
        else:
            lines.append(f"{old.in_words} runs again; what was pushed meanwhile is deployed")
        return UpgradeError("\n".join(lines))

    def _old_can_run(self) -> bool:
        with closing(Database(self.settings.effective_database_url)) as database:
            schema, old = schema_version(database), self.before.version.schema
            if schema is None or schema <= old:
                return True
            with database.writer_engine.connect() as connection:
                return allows(connection, schema, schema=old)

    def _bring_back(self, wanted: Next) -> None:
        """Let a version run, whatever runs now."""
        for _ in range(BACK_TRIES):
            running = self.eye.running()
            if running is None:
                since = self._last_start()
                if not self._is_started_again(since):
                    self._start(wanted.version)
                self.eye.wait_until_replaced(wanted.version, since)
            elif running.version.is_same(wanted.version):
                return
            elif self._hand_over(wanted, running) and is_supervisor(running.pid, self._run_dir):
                still = self.eye.running()
                if still and still.started_at == running.started_at:
                    # It does not do what it is told.
                    os.kill(running.pid, signal.SIGKILL)

    def _last_start(self) -> str:
        found = read_running(self._run_dir)
        return found.started_at if found else ""

    def _is_started_again(self, since: str) -> bool:
        """Whether systemd, or whatever else started Keystone, starts it again."""
        deadline = time.monotonic() + STARTED_AGAIN_WITHIN_S
        while time.monotonic() < deadline:
            found = self.eye.running()
            if found and found.started_at > since:
                return True
            time.sleep(POLL_S)
        return is_up(self.settings.data_dir)

    def _start(self, version: Version) -> None:
        """Start a Keystone that nobody else starts."""
        path = self._run_dir / OUTPUT
        self.tell(f"nothing has started Keystone again, so it is started here; it prints to {path}")
        with path.open("ab") as output:
            subprocess.Popen(  # noqa: S603 — our own command line, no shell
                (version.python, "-P", "-m", "jobs.cli", "up"),
                cwd=self.before.folder,
                env=code_first(version, os.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _note(self, *, problem: str) -> None:
        """Record the upgrade in the audit trail; a failure to record does not fail the upgrade."""
        with (
            suppress(KeystoneError),
            closing(Database(self.settings.effective_database_url)) as database,
            database.writing() as session,
        ):
            note_upgrade(
                session,
                self.actor,
                before=self.before.version.in_words,
                after=self.after.in_words,
                problem=problem,
            )


@contextmanager
def _held(settings: AllSettings, is_due: Callable[[], bool] | None) -> Iterator[None]:
    """Let the router hold requests for Keystone's own address once `is_due`, until the end.

    The router holds each request for 9 seconds at most, as it also does while the web process is
    away. A router that does not answer does not keep the upgrade from going on.
    """
    if is_due is None:
        yield
        return
    router, over = HAProxyRouter(settings.effective_router_socket), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            if is_due():
                _tell_router(router, "hold")
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        _tell_router(router, "release")


def _tell_router(router: HAProxyRouter, verb: str) -> None:
    """Use a verb that only newer routers have."""
    with suppress(KeystoneError):
        getattr(router, verb, lambda: None)()
