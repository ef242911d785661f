"""This machine's packet filter: keeps containers from the cloud's metadata addresses.

Clouds serve a machine's credentials at addresses that every process on the machine can reach,
including processes in containers. Our rules, identified by their comment, reject TCP to these
addresses, except port 53, since some of them are also DNS servers.

Source: iptables(8), iptables-extensions(8); https://docs.docker.com/engine/network/packet-filtering-firewalls/
(read 2026-11-30): Docker reserves the chain DOCKER-USER for the administrator's own rules.
"""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import PlatformError
from jobs.rules.domain_names import METADATA_ADDRESSES

PROGRAMS = {4: "iptables", 6: "ip6tables"}
SYSTEM_PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
WAIT_S = 5  # for another program that is changing the rules and holds iptables' lock
PATIENCE_S = 20
CONTAINERS, FORWARD, OWN = "DOCKER-USER", "FORWARD", "OUTPUT"
ENGINE_PID = Path("/run/docker.pid")


@dataclass(frozen=True)
class Rule:
    """One rule; its words are the arguments after `-I CHAIN`."""

    version: int  # of IP: 4 or 6
    chain: str
    words: tuple[str, ...]


class Firewall:
    """The rules of one Keystone installation."""

    def __init__(self, identity: str, *, engine_pid: Path = ENGINE_PID) -> None:
        self._comment = f"keystone-{identity}-metadata"
        self._engine_pid = engine_pid

    def block(self) -> None:
        """Insert the rules that are missing.

        Raises:
            PlatformError: iptables is not installed, or this process lacks the permission.
        """
        for rule in self._missing():
            self._run(rule.version, "-I", rule.chain, *rule.words)

    def is_blocked(self) -> bool:
        """Whether all rules are in place.

        Raises:
            PlatformError: as `block`.
        """
        return next(self._missing(), None) is None

    def unblock(self) -> None:
        """Delete all of our rules.

        Raises:
            PlatformError: as `block`.
        """
        for version in _versions():
            for line in self._run(version, "-S").stdout.splitlines():
                words = shlex.split(line)
                if words[0] == "-A" and self._comment in words:
                    self._run(version, "-D", *words[1:])

    def _missing(self) -> Iterator[Rule]:
        for rule in self._rules():
            if self._run(rule.version, "-C", rule.chain, *rule.words, may_fail=True).returncode:
                yield rule

    def _rules(self) -> Iterator[Rule]:
        engine = engine_group(self._engine_pid)
        for version in _versions():
            has_own = self._run(version, "-n", "-L", CONTAINERS, may_fail=True).returncode == 0
            for address in METADATA_ADDRESSES:
                if address.version != version:
                    continue
                words = ("-d", str(address), "-p", "tcp", "!", "--dport", "53")
                marked = ("-m", "comment", "--comment", self._comment, "-j", "REJECT")
                yield Rule(version, CONTAINERS if has_own else FORWARD, (*words, *marked))
                if engine:
                    # The engine itself fetches the URLs of `ADD https://…` and `FROM`.
                    of_engine = ("-m", "cgroup", "--path", engine)
                    yield Rule(version, OWN, (*words, *of_engine, *marked))

    def _run(
        self, version: int, *words: str, may_fail: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        name = PROGRAMS[version]
        program = shutil.which(name, path=SYSTEM_PATH)
        if program is None:
            raise PlatformError(f"{name} is not installed: apt-get install iptables")
        try:
            done = subprocess.run(  # noqa: S603 — an argument list, no shell
                [program, "-w", str(WAIT_S), *words],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
                encoding="utf-8",
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise PlatformError(f"{name} does not run ({type(exc).__name__})") from exc
        # For a query, exit status 1 means "no such rule" or "no such chain".
        if done.returncode and not (may_fail and done.returncode == 1):
            raise PlatformError(f"{name} refused: {done.stderr.strip().splitlines()[0]}")
        return done


def _versions() -> list[int]:
    """Give the IP versions that this machine supports."""
    return [4, 6] if Path("/proc/net/if_inet6").exists() else [4]


def engine_group(pid_file: Path = ENGINE_PID) -> str:
    """Give the control group that holds only the engine's own process, relative to the root.

    "" when the engine has no control group of its own, for example because systemd did not start
    it: its requests cannot be distinguished from those of other processes then.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8", errors="replace"))
        lines = (
            Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
        )
    except (OSError, ValueError):
        return ""
    # The single tree of cgroup version 2 has the number 0 and no name.
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    return path.strip("/")
