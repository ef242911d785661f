"""The parts (processes) of a Keystone, and the start of the supervisor that keeps them running.

Every part is a command of `keystone` itself, so the generated configuration contains no user-chosen
path; the parts read the settings from the environment, as `keystone up` did. They start together
and stop one after the other, from the highest priority down: first the running work is brought into
a safe state, which may take half a minute. Meanwhile the web process still accepts pushes, and
requests wait at the router for 9 s at most after it. Redis, which all other parts use, stops last.
The router is no part: it is a service of its own (`jobs.processes.router_service`), which
outlives them all.
"""

import logging
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from jobs.errors import ConflictError, StorageError
from jobs.processes.configuration import unknown_secrets
from jobs.processes.hand_over import GIVEN, HAND_OVER, Given
from jobs.processes.separation import Apart, Together
from jobs.processes.watched import Watched
from jobs.settings import Settings, WebSettings, WorkerSettings
from jobs.system.die_with_parent import RIGHTS, WITH, WITHOUT
from jobs.system.file_lock import is_held, take
from jobs.system.installation import python
from jobs.system.notify import SOCKET
from jobs.system.private_folder import claims_dir, ensure_private
from jobs.system.privileges import Rights
from jobs.system.proc import runs_module
from jobs.system.watch_times import WORK_STOP_S

logger = logging.getLogger(__name__)

LOCK_FILE = "up.lock"
SUPERVISOR, SUPERVISOR_PID = "jobs.processes.supervisor", "supervisor.pid"
CONFIGURATION = "supervisor.conf"
# `is_up` also takes the lock for a moment, without being a running Keystone: wait that long for it.
ASKERS_GONE_WITHIN_S = 0.5


@dataclass(frozen=True)
class Program:
    """A part of Keystone: a command line that stays in the foreground.

    Attributes:
        rights: the user and rights it runs with; None: those of the supervisor.
        untold: environment variables that are removed for it.
        told: environment variables that are set for it and override the supervisor's.
    """

    name: str
    command: tuple[str, ...]
    priority: int  # stopped from the highest to the lowest
    count: int = 1
    stop_within_s: int = 10
    rights: Rights | None = None
    untold: Sequence[str] = ()
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> list[str]:
        """The program's options for `jobs.system.die_with_parent`."""
        return [
            *([RIGHTS, self.rights.to_text()] if self.rights else []),
            # Only the supervisor speaks to systemd for the service.
            *(WITHOUT, ",".join((SOCKET, *self.untold))),
            *(word for name, value in self.told.items() for word in (WITH, f"{name}={value}")),
        ]


def keystone_command(*arguments: str) -> tuple[str, ...]:
    """Give the command line of one of `keystone`'s own commands.

    With -P, Python does not import a folder named `jobs` from the current directory.
    """
    return (python(), "-P", "-m", "jobs.cli", *arguments)


def programs(settings: Settings, users: Apart | Together) -> list[Program]:
    """List the parts that these settings require, in the order of their start.

    Args:
        users: the users that the parts run as.
    """
    return [_with_rights(part, users) for part in _programs(settings)]


def _programs(settings: Settings) -> list[Program]:
    knows_none, knows_web, knows_work = map(
        unknown_secrets, (Settings, WebSettings, WorkerSettings)
    )
    redis = Program("redis", keystone_command("redis"), 10, untold=knows_none)
    firewall = Program("firewall", keystone_command("firewall"), 25, untold=knows_none)
    # Only root may change the packet filter; for other users, `keystone doctor` reports this.
    blocks = settings.block_metadata and os.geteuid() == 0
    watcher = Program("watcher", keystone_command("watcher"), 30, untold=knows_work)
    worker = Program("worker", keystone_command("worker"), 40, untold=knows_work)
    # For rollbacks and recoveries: a site that is down does not wait until a build has ended.
    quick = Program("quick-worker", keystone_command("quick-worker"), 40, untold=knows_work)
    return [
        *([] if settings.redis_url else [redis]),
        *([firewall] if blocks else []),
        replace(watcher, stop_within_s=WORK_STOP_S),
        replace(worker, stop_within_s=WORK_STOP_S, count=settings.workers),
        replace(quick, stop_within_s=WORK_STOP_S),
        Program("web", keystone_command("web"), 15, untold=knows_web),
    ]


def _with_rights(part: Program, users: Apart | Together) -> Program:
    if isinstance(users, Together):
        return part
    return replace(part, rights=users.rights[part.name], told=users.told[part.name])


def configuration(parts: Sequence[Program], *, supervisor_pid: int) -> str:
    """Write the supervisor's configuration.

    Args:
        parts: the parts to run.
        supervisor_pid: the supervisor's future process id: no part outlives that process.
    """
    # Name root explicitly, because otherwise supervisord warns that it runs as root.
    user = ["user=0"] if os.getuid() == 0 else []
    lines = ["[supervisord]", "nodaemon=true", *user]
    for part in parts:
        guard = (python(), "-P", "-m", "jobs.system.die_with_parent", str(supervisor_pid))
        guarded = (*guard, *part.options, *part.command)
        lines += [
            "",
            f"[program:{part.name}]",
            f"command={' '.join(_quoted(argument) for argument in guarded)}",
            f"process_name={'%(program_name)s-%(process_num)d' if part.count > 1 else part.name}",
            f"numprocs={part.count}",
            "numprocs_start=1",
            f"priority={part.priority}",
            "autorestart=true",
            "startsecs=3",
            f"stopwaitsecs={part.stop_within_s}",
            "killasgroup=true",
            # The parts write directly to the supervisor's output; nothing passes through it.
            "stdout_logfile=NONE",
            "stderr_logfile=NONE",
        ]
    return "\n".join(lines) + "\n"


def _quoted(argument: str) -> str:
    """Quote for supervisord, which cuts at ` #` and ` ;`, then expands %, then splits words."""
    quoted = shlex.quote(argument).replace(" #", " ''#").replace(" ;", " '';")
    return quoted.replace("%", "%%")


def take_over(data_dir: Path, inherited: Sequence[int] = ()) -> TextIO:
    """Claim a data directory for this process; the claim ends when the file is closed.

    Args:
        inherited: open files that may hold the claim already, after a hand-over.

    Raises:
        ConflictError: another `keystone up` uses it.
        StorageError: the directory is not writable.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _locked(ensure_private(data_dir / "run") / LOCK_FILE, inherited)
    if lock is None:
        raise ConflictError(
            f"another `keystone up` uses {data_dir}; stop it first, or set KEYSTONE_DATA_DIR"
        )
    return lock


def claim_identity(identity: str, data_dir: Path, inherited: Sequence[int] = ()) -> TextIO:
    """Claim the identity on this machine for this Keystone, until the file is closed.

    A restored Keystone and the original of its backup would remove each other's containers.

    Args:
        inherited: open files that may hold the claim already, after a hand-over.

    Raises:
        ConflictError: another Keystone with another data directory has claimed the identity.
    """
    claim = _locked(_claims(data_dir) / f"{identity}.lock", inherited)
    if claim is None:
        raise ConflictError(
            f"the Keystone {identity} runs on this machine already, from another data directory; "
            "stop it first: one of them is a copy of the other"
        )
    return claim


def _claims(data_dir: Path) -> Path:
    """Give the folder of the claims, which only this user's Keystones share.

    If another user has created a folder with that name, Keystone runs anyway, but cannot detect a
    copy of itself.
    """
    try:
        return ensure_private(claims_dir(os.getuid()))
    except StorageError as exc:
        logger.warning("%s", exc, extra={"action": "claims_not_shared"})
        return ensure_private(data_dir / "run")


def _locked(path: Path, inherited: Sequence[int]) -> TextIO | None:
    """Open a file and lock it; None when another process holds the lock."""
    try:
        file = _inherited_file(path, inherited) or path.open("a", encoding="utf-8")
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror}") from exc
    if take(file.fileno(), patience_s=ASKERS_GONE_WITHIN_S):
        return file
    file.close()
    return None


def _inherited_file(path: Path, inherited: Sequence[int]) -> TextIO | None:
    """Give the inherited file with that path; its lock belongs to the open file, so it is ours."""
    for descriptor in inherited:
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return os.fdopen(descriptor, "a", encoding="utf-8")
    return None


def is_supervisor(pid: int, run_dir: Path) -> bool:
    """Whether a process is the supervisor of the Keystone with this run folder.

    The process id may come from a copied or restored folder, and belong to another Keystone.
    """
    return runs_module(pid, SUPERVISOR, run_dir / CONFIGURATION)


def supervisor_pid(run_dir: Path) -> int | None:
    """Give the process id of the supervisor; None when none runs, or it has not begun."""
    try:
        pid = int((run_dir / SUPERVISOR_PID).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return pid if is_supervisor(pid, run_dir) else None


def is_up(data_dir: Path) -> bool:
    """Whether a `keystone up` uses this data directory now."""
    return is_held(data_dir / "run" / LOCK_FILE)


def supervise(
    parts: Sequence[Program],
    data_dir: Path,
    *claims: TextIO,
    watched: Watched,
    given: Given | None = None,
) -> None:
    """Become the supervisor of these parts. Does not return.

    Args:
        parts: the parts to run.
        data_dir: the folder for the supervisor's own files.
        claims: the files from `take_over` and `claim_identity`; held until the supervisor ends.
        watched: the other resources that the supervisor watches.
        given: how this Keystone was started; without it the supervisor cannot hand over.
    """
    folder = ensure_private(data_dir / "run")
    config = folder / CONFIGURATION
    config.unlink(missing_ok=True)
    config.touch(mode=0o600)
    config.write_text(configuration(parts, supervisor_pid=os.getpid()), encoding="utf-8")
    for claim in claims:
        os.set_inheritable(claim.fileno(), True)  # noqa: FBT003 — the name says it
    if given:
        held = replace(given, claims=[claim.fileno() for claim in claims])
        os.environ[GIVEN] = held.to_text()
        # Until the supervisor can act on it; by default, the signal would end the process.
        signal.signal(HAND_OVER, signal.SIG_IGN)
    # Change the folder so that no part reads the `.env` file: its settings have already been read,
    # and the file may belong to root.
    os.chdir(folder)
    os.execv(  # noqa: S606 — an argument list, no shell
        python(),
        [python(), "-P", "-m", SUPERVISOR, str(config), watched.to_text()],
    )
