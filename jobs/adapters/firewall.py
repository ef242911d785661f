"""This machine's packet filter: keeping containers from what only the machine itself may ask.

Clouds hand out the credentials of a machine at addresses that every process on it reaches, those in
containers too. Rules of ours, known again by their comment, refuse TCP to them; not port 53, since
some of these addresses answer for names as well.

Source: iptables(8), iptables-extensions(8); https://docs.docker.com/engine/network/packet-filtering-firewalls/
(read 2026-11-30): Docker leaves the chain DOCKER-USER to others.
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
WAIT_S = 5  # for others who change the rules just now
PATIENCE_S = 20
CONTAINERS, FORWARD, OWN = "DOCKER-USER", "FORWARD", "OUTPUT"
ENGINE_PID = Path("/run/docker.pid")


@dataclass(frozen=True)
class Rule:
    """One rule, as the words behind `-I CHAIN`."""

    version: int  # of IP
    chain: str
    words: tuple[str, ...]


class Firewall:
    """The rules of one Keystone."""

    def __init__(self, identity: str, *, engine_pid: Path = ENGINE_PID) -> None:
        self._comment = f"keystone-{identity}-metadata"
        self._engine_pid = engine_pid

    def block(self) -> None:
        """Put in what is missing.

        Raises:
            PlatformError: there is no iptables here, or this process may not.
        """
        for rule in self._missing():
            self._run(rule.version, "-I", rule.chain, *rule.words)

    def is_blocked(self) -> bool:
        """Whether nothing is missing.

        Raises:
            PlatformError: as `block`.
        """
        return next(self._missing(), None) is None

    def unblock(self) -> None:
        """Take all of ours out again.

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
                    # It is the engine that fetches what `ADD https://…` and `FROM` name.
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
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise PlatformError(f"{name} does not run ({type(exc).__name__})") from exc
        # 1 is "no such rule" or "no such chain" of a question.
        if done.returncode and not (may_fail and done.returncode == 1):
            raise PlatformError(f"{name} refused: {done.stderr.strip().splitlines()[0]}")
        return done


def _versions() -> list[int]:
    """Give the versions of IP that this machine speaks."""
    return [4, 6] if Path("/proc/net/if_inet6").exists() else [4]


def engine_group(pid_file: Path = ENGINE_PID) -> str:
    """Give the control group that only the engine's own process is in, below the root.

    "" when it has none of its own, as where no systemd has started it: then its requests cannot be
    told from others'.
    """
    try:
        pid = int(pid_file.read_text())
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return ""
    # The one tree of version 2 has the number 0 and no name.
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    return path.strip("/")
