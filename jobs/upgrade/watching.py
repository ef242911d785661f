"""What the upgrade sees of the Keystone that starts: its supervisor, its parts, its answers."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from jobs.errors import KeystoneError
from jobs.processes.bus import connect
from jobs.processes.hand_over import HAND_OVER
from jobs.processes.queue import WorkQueue
from jobs.processes.readiness import ask_readyz
from jobs.processes.supervise import is_supervisor, is_up
from jobs.processes.versions import Running, Version, read_parts, read_running
from jobs.rules.ip_addresses import reachable
from jobs.settings import Settings
from jobs.states import EVERY_LANE
from jobs.system.watch_times import WORK_STOP_S

RUNNING = "RUNNING"
# The workers and the watcher stop at the same time; then the other version starts.
REPLACED_WITHIN_S = WORK_STOP_S + 90.0
READY_WITHIN_S = 60.0
BACK_WITHIN_S = 120.0  # only decides what is reported
# A part that ends soon after its start is seen to start again within that time.
STABLE_FOR_S, ASK_EVERY_S = 4.0, 0.3
GONE_FOR_S = 3.0  # an end is told from the moment between two programs
TELL_AGAIN_S = 5.0
ASK_S, POLL_S = 3.0, 0.1
LONGEST_TAIL, LONGEST_LINE = 16_000, 1000  # bytes, characters
TAIL_LINES = 6
SUPERVISORS_OWN = " INFO "


@dataclass(frozen=True)
class Eye:
    """Looks at the Keystone of some settings.

    Attributes:
        ready_within_s: how long it may take to get ready.
    """

    settings: Settings
    identity: str
    ready_within_s: float = READY_WITHIN_S

    @property
    def _run_dir(self) -> Path:
        return self.settings.run_dir

    def running(self) -> Running | None:
        """Give the version whose supervisor runs now."""
        found = read_running(self._run_dir)
        return found if found and is_supervisor(found.pid, self._run_dir) else None

    def wait_until_replaced(self, version: Version, since: str) -> str:
        """Wait until the supervisor of a version runs; return the problem, empty if it does.

        Args:
            since: only one that started after that time counts.
        """
        deadline, seen = time.monotonic() + REPLACED_WITHIN_S, time.monotonic()
        tell_again_at = time.monotonic() + TELL_AGAIN_S
        while time.monotonic() < deadline:
            found = read_running(self._run_dir)
            if found and found.started_at > since and is_supervisor(found.pid, self._run_dir):
                is_it = found.version.code == version.code
                return (
                    "" if is_it else f"its `keystone up` failed, and {found.version.name} went on"
                )
            if (
                found
                and time.monotonic() > tell_again_at
                and is_supervisor(found.pid, self._run_dir)
            ):
                # It had only just started, and could not hear the first time.
                tell_again_at = time.monotonic() + TELL_AGAIN_S
                tell_to_hand_over(found.pid)
            if is_up(self.settings.data_dir):
                seen = time.monotonic()
            elif time.monotonic() - seen > GONE_FOR_S:
                return "`keystone up` ended"
            time.sleep(POLL_S)
        return f"`keystone up` was not replaced within {REPLACED_WITHIN_S:.0f} s"

    def wait_until_ready(self, within_s: float | None = None) -> str:
        """Wait until all parts run and the web process is ready; return the problem, if any."""
        deadline = time.monotonic() + (within_s or self.ready_within_s)
        problem, before, since = "nothing was seen of it", None, time.monotonic()
        while time.monotonic() < deadline:
            parts = read_parts(self._run_dir)
            problem = self._problem(parts)
            if problem or parts != before:
                before, since = parts, time.monotonic()
            elif time.monotonic() - since >= STABLE_FOR_S:
                return ""
            if not is_up(self.settings.data_dir):
                return "`keystone up` ended"
            time.sleep(ASK_EVERY_S)
        return problem or "its parts kept restarting"

    def _started_at(self) -> datetime | None:
        found = read_running(self._run_dir)
        return datetime.fromisoformat(found.started_at) if found else None

    def _problem(self, parts: dict[str, list[object]] | None) -> str:
        if not parts:
            return "its supervisor has started no part"
        waiting = [f"{name} ({state})" for name, (_, state) in parts.items() if state != RUNNING]
        if waiting:
            return f"these parts do not run: {', '.join(waiting)}"
        host = reachable(self.settings.host)
        status, answer = ask_readyz(host, self.settings.port, ASK_S)
        if status != HTTPStatus.OK:
            return f"/readyz answers: {f'{status} {answer}' if status else answer}"
        wanted = sum(1 for name in parts if "worker" in name.split("-"))
        try:
            queue = WorkQueue(connect(self.settings.effective_redis_url), self.identity)
            alive = queue.workers_alive(EVERY_LANE, born_since=self._started_at())
        except KeystoneError as exc:
            return str(exc)
        return "" if alive >= wanted else f"{alive} of {wanted} workers have reported themselves"


def tail_of_output(pid: int) -> list[str]:
    """Give the last lines that a Keystone has printed, if it prints to a file."""
    try:
        path = Path(f"/proc/{pid}/fd/2")
        target = path.readlink()
        if not target.is_file():
            return []
        with path.open("rb") as file:
            file.seek(max(0, target.stat().st_size - LONGEST_TAIL))
            lines = file.read().decode(errors="replace").splitlines()[1:]
        told = [line for line in lines if SUPERVISORS_OWN not in line]
        return [line[:LONGEST_LINE] for line in told[-TAIL_LINES:]]
    except OSError:
        return []


def tell_to_hand_over(pid: int) -> None:
    """Tell a supervisor to hand over to the version in `next.json`, unless it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, HAND_OVER)
