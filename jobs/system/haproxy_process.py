"""HAProxy's processes as the kernel and HAProxy's master socket describe them.

A master starts workers and never serves itself. At a reload it executes its own program again,
with the same process id, and starts a new worker; the old worker ends when its last connection
does.
"""

import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from jobs.system.proc import children_of, is_there, parent_of

ANSWER_WITHIN_S, CHECKED_WITHIN_S = 2.0, 30.0
_MASTER = re.compile(r"^\d+\s+master\s+(\d+) \[failed: (\d+)\]", re.MULTILINE)
_WORKER = re.compile(r"^(\d+)\s+worker\s", re.MULTILINE)


@dataclass
class Master:
    """A running master.

    Attributes:
        pidfd: readable once the process has ended.
    """

    pid: int
    pidfd: int
    child: "subprocess.Popen[bytes] | None" = None
    started_at: float = field(default_factory=time.time)

    @classmethod
    def of_child(cls, child: "subprocess.Popen[bytes]") -> Self:
        """Watch a child of ours."""
        return cls(child.pid, os.pidfd_open(child.pid), child)

    @property
    def family(self) -> list[int]:
        """The process ids of the master and of its workers, old ones included."""
        return [self.pid, *children_of(self.pid)]

    def has_ended(self) -> bool:
        """Whether it has ended."""
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def end(self) -> str:
        """Forget a process that has ended, and say how it ended."""
        os.close(self.pidfd)
        if self.child is None:
            return ""
        code = self.child.wait()
        return f"by signal {-code}" if code < 0 else f"with code {code}"

    def age_s(self) -> float:
        """Give the seconds since its start."""
        return time.time() - self.started_at

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def reloads(self, master_socket: Path) -> int:
        """Give how often it was reloaded; 0 when it does not answer."""
        found = _MASTER.search(ask_master(master_socket, "show proc"))
        return int(found[1]) if found else 0


def master_command(
    program: Path, config: Path, master: Path, own: Path, *, admin: str
) -> list[str]:
    """Give the command line of a master.

    Args:
        program: HAProxy.
        config: its configuration.
        master: the master's socket for the user `admin`; "": the user that starts it.
        own: the master's socket for the user that starts it.
    """
    rights = f"mode,600,user,{admin},group,{admin}" if admin else "mode,600"
    sockets = (f"{master},{rights}", f"{own},mode,600")
    told = (word for socket in sockets for word in ("-S", socket))
    return [str(program), "-W", "-db", *told, "-f", str(config)]


def find_master(config: Path) -> Master | None:
    """Find the running master of this configuration."""
    for pid in _running(config):
        # Workers have the command line of their master.
        if not _is_of(parent_of(pid), config):
            with suppress(OSError):
                pidfd = os.pidfd_open(pid)
                if _is_of(pid, config):
                    return Master(pid, pidfd, started_at=_started_at(pid))
                os.close(pidfd)
    return None


def wait_for_end(master: Master, within_s: float) -> bool:
    """Wait until it has ended."""
    return bool(select.select([master.pidfd], [], [], within_s)[0])


def point_link(link: Path, program: str) -> None:
    """Let a link lead to the program: HAProxy executes its own name again at a reload."""
    if link.is_symlink() and str(link.readlink()) == program:
        return
    draft = link.with_name(f"{link.name}.draft")
    draft.unlink(missing_ok=True)
    draft.symlink_to(program)
    draft.replace(link)


def complaint(program: Path, config: Path, environ: Mapping[str, str]) -> str:
    """Let HAProxy check a configuration; give its complaint, empty if there is none."""
    try:
        done = subprocess.run(  # noqa: S603 — our own command line, no shell
            [str(program), "-c", "-f", str(config)],
            cwd="/",
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECKED_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"HAProxy cannot be run: {exc}"
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    return " ".join([line for line in lines if "[ALERT]" in line] or lines)[:600]


def binary_of(program: Path) -> list[int]:
    """Give what tells one program file from another: device, inode, time of change."""
    found = program.stat()
    return [found.st_dev, found.st_ino, found.st_mtime_ns]


def is_ready(master_socket: Path, *, reloads: int) -> bool | None:
    """Whether the master serves after its `reloads`th reload; None: this is not known yet."""
    answer = ask_master(master_socket, "show proc")
    found = _MASTER.search(answer)
    if found is None or int(found[1]) < reloads:
        return None
    return int(found[2]) == 0 if _WORKER.search(answer) else None


def old_workers(master_socket: Path) -> list[int]:
    """Give the process ids of workers that only finish what they have begun before a reload."""
    old = ask_master(master_socket, "show proc").partition("# old workers")[2]
    return [int(pid) for pid in _WORKER.findall(old)]


def ask_master(master_socket: Path, line: str) -> str:
    """Give the master's whole answer; empty when it does not answer."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_WITHIN_S)
            connection.connect(str(master_socket))
            connection.sendall(f"{line}\n".encode("ascii"))
            # The master keeps a connection open until its client has nothing more to say.
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
    except OSError:
        return ""
    return answer.decode(errors="replace")


def _running(config: Path) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if _is_of(pid, config) and is_there(pid):
            yield pid


def _is_of(pid: int, config: Path) -> bool:
    """Whether this is an HAProxy with this configuration, by its command line and user.

    Any user can run a program with that command line, so only our own and root's count.
    """
    try:
        if os.stat(f"/proc/{pid}").st_uid not in {os.getuid(), 0}:  # noqa: PTH116 — cheap, in a loop
            return False
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    file = os.fsencode(config)
    return Path(os.fsdecode(words[0])).name == "haproxy" and b"-W" in words and file in words


def _started_at(pid: int) -> float:
    """Give the time of a process's start; the present if it has ended."""
    try:
        ticks = int(
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
        up_s = float(Path("/proc/uptime").read_text(encoding="utf-8", errors="replace").split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - up_s + ticks / os.sysconf("SC_CLK_TCK")
