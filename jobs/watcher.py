"""The watcher: reconciles, sends commit statuses, and reports the health of Docker and the router.

Each duty runs in its own thread at its own interval, so a GitHub that hangs delays no repair.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.adapters.git.source import GitSource
from jobs.adapters.github.forge import GitHubForge
from jobs.adapters.ports import Forge
from jobs.deployment.work import Tools
from jobs.dispatch import real_tools
from jobs.duties.answers import answer_next, do_next_errand
from jobs.duties.catch_up.duty import CatchingUp
from jobs.duties.catch_up.look import Means
from jobs.duties.configure_router import configure_router
from jobs.duties.containers import follow_containers
from jobs.duties.housekeeping import keep_house
from jobs.duties.identify import identify_next
from jobs.duties.note_health import note_vitals
from jobs.duties.reconcile import SWEEPS, reconcile, repairs
from jobs.duties.send_statuses import send_due
from jobs.duties.serve_domains import serve_domains
from jobs.errors import KeystoneError
from jobs.processes.metadata import block_metadata
from jobs.processes.runtime import Runtime
from jobs.settings import Settings, WorkerSettings
from jobs.system.watch_times import TAKE_BACK_EVERY_S

logger = logging.getLogger(__name__)

SERVE_DOMAINS_EVERY_S = 2.0
CONFIGURE_EVERY_S = 5.0
SEND_EVERY_S = 0.5
TIDY_EVERY_S = 3600.0
REPORT_EVERY_S = 3.0
NOTE_EVERY_S = 10.0
BLOCK_EVERY_S = 10.0
IDENTIFY_EVERY_S = 1.0  # one repository at a time
CATCH_UP_EVERY_S = 2.0  # one repository at a time
ERRAND_WITHIN_S = 12.0
AFTER_FAILURE_S = 1.0
SAY_AGAIN_S = 60.0
ENDS_WITHIN_S = 30.0


@dataclass(frozen=True)
class Duty:
    """A task that the watcher repeats."""

    name: str
    every_s: float
    do: Callable[[], object]


def run_watcher(runtime: Runtime[WorkerSettings]) -> None:
    """Run all duties until SIGTERM or SIGINT, then let each finish its current round."""
    _run(duties(runtime))


def run_firewall(settings: Settings, identity: str) -> None:
    """Keep the packet filter's rules in place until SIGTERM or SIGINT; they stay afterwards.

    A separate process, because it needs root.
    """
    _run([Duty("firewall", BLOCK_EVERY_S, lambda: block_metadata(settings, identity))])


def _run(chosen: Sequence[Duty]) -> None:
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    threads = [
        threading.Thread(target=keep_doing, args=(duty, over), name=duty.name, daemon=True)
        for duty in chosen
    ]
    for thread in threads:
        thread.start()
    over.wait()
    for thread in threads:
        thread.join(timeout=ENDS_WITHIN_S)


def duties(runtime: Runtime[WorkerSettings]) -> list[Duty]:
    """List the duties. Each has its own tools, because an adapter serves one thread only."""
    forge = GitHubForge(runtime.settings.github_api_url)
    registry = GitHubForge(runtime.settings.github_api_url)
    errands = GitHubForge(runtime.settings.github_api_url, total_timeout_s=ERRAND_WITHIN_S)
    repair, broom, report, answer, tidy, doors, look, ears = (real_tools(runtime) for _ in range(8))
    parts = repairs()
    return [
        Duty("reconcile", TAKE_BACK_EVERY_S, lambda: reconcile(runtime, repair, parts)),
        Duty("sweep", TAKE_BACK_EVERY_S, lambda: reconcile(runtime, broom, SWEEPS)),
        # Separate from the repairs, which may take long: a new domain should work at once.
        Duty("domains", SERVE_DOMAINS_EVERY_S, lambda: serve_domains(runtime, doors)),
        Duty("router", CONFIGURE_EVERY_S, lambda: configure_router(runtime)),
        Duty("statuses", SEND_EVERY_S, lambda: send_all(runtime, forge)),
        # The next round of repairs sees the events that are missed between two calls.
        Duty("docker's events", 0, lambda: follow_containers(runtime, ears)),
        Duty("questions", 0, lambda: answer_next(runtime, answer)),
        Duty("errands", 0, lambda: do_next_errand(runtime, errands)),
        Duty("identities", IDENTIFY_EVERY_S, lambda: identify_next(runtime, registry)),
        Duty("catching up", CATCH_UP_EVERY_S, catching_up(runtime)),
        Duty("housekeeping", TIDY_EVERY_S, lambda: keep_house(runtime, tidy.engine)),
        Duty("health", REPORT_EVERY_S, lambda: runtime.bus.report_health(neighbours(report))),
        Duty("vitals", NOTE_EVERY_S, lambda: note_vitals(runtime, look.engine)),
    ]


def catching_up(runtime: Runtime[WorkerSettings]) -> CatchingUp:
    """Make the duty that looks for missed pushes, with its own GitHub and git adapters."""
    settings = runtime.settings
    source = GitSource(settings.mirrors_dir, allowed_schemes=settings.allowed_git_schemes)
    return CatchingUp(Means(runtime, GitHubForge(settings.github_api_url), source, time.sleep))


def keep_doing(duty: Duty, over: threading.Event) -> None:
    """Repeat a duty at its interval until `over` is set; a failed round is retried.

    A persistent failure, such as an engine that is down, is logged at once and then once a minute.
    """
    said, say_again_at = "", 0.0
    while not over.is_set():
        try:
            duty.do()
        except KeystoneError as exc:
            if str(exc) != said or time.monotonic() > say_again_at:
                said, say_again_at = str(exc), time.monotonic() + SAY_AGAIN_S
                logger.warning("%s: %s", duty.name, exc, extra={"action": "duty_failed"})
        except Exception:
            # A bug in one duty must not end its thread.
            logger.exception("%s failed", duty.name, extra={"action": "duty_failed"})
        else:
            said = ""
            over.wait(duty.every_s)
            continue
        over.wait(max(duty.every_s, AFTER_FAILURE_S))


def send_all(runtime: Runtime[WorkerSettings], forge: Forge) -> None:
    """Send commit statuses until none is due."""
    while send_due(runtime, forge):
        pass


def neighbours(tools: Tools) -> dict[str, str]:
    """Ask Docker and the router for their version: "ok", or a sentence that says what is wrong."""
    return {"docker": _answer(tools.engine.version), "router": _answer(tools.router.version)}


def _answer(ask: Callable[[], str]) -> str:
    try:
        ask()
    except KeystoneError as exc:
        return str(exc)
    return "ok"
