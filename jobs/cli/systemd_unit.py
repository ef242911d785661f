"""The systemd unit that runs the Keystone of one folder: its text, and its installation.

Source: systemd.exec(5), systemd.service(5) (read 2026-11-30).
"""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import ConfigurationError, ConflictError, NotFoundError, PlatformError
from jobs.processes.metadata import touches_firewall
from jobs.settings import Settings
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.system.installation import lasting_program
from jobs.system.part_users import ROOT
from jobs.system.private_folder import claims_dir

UNITS = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")  # exists while systemd is the machine's first process
SERVICE = "keystone.service"
MARK = "# Made by `keystone systemd install`; the next one replaces it."
# Copied into the unit from the environment of the command; Keystone's own settings are in `.env`.
DOCKER = ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
PATIENCE_S = 180  # a Keystone that is told to stop may take two minutes
# Root needs these to start the parts as users of their own; HAProxy needs them to change its user.
CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_NET_BIND_SERVICE "
    "CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT CAP_SYS_RESOURCE"
)
# For adding and removing rules of the packet filter; some versions of iptables use a lock file.
FIREWALL_CAPABILITIES = "CAP_NET_ADMIN CAP_NET_RAW"
FIREWALL_LOCK = "-/run/xtables.lock"

_UNIT = """\
{mark}
[Unit]
Description=Keystone, which deploys what is pushed
Wants=network-online.target
After=network-online.target docker.service
# Restart without a limit, as Keystone restarts its own parts.
StartLimitIntervalSec=0

[Service]
{user}WorkingDirectory={folder}
ExecStart={program} up
{environment}KillMode=mixed
TimeoutStopSec=120
Restart=always
RestartSec=2
OOMScoreAdjust=-500
UMask=0077

# It can write only to its own data. Root keeps only the rights to run parts as other users.
ProtectSystem=strict
ReadWritePaths={writable}
{runtime}ProtectHome=read-only
PrivateTmp={private_tmp}
PrivateDevices=yes
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
LockPersonality=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service chroot
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: HAProxy compiles its regular expressions to machine code.

[Install]
WantedBy=multi-user.target
"""


# The folders of Keystone below /run, the only ones there that its service may write to. They stay
# after the service is stopped, because a command may hold a lock in them.
_RUNTIME = """\
RuntimeDirectory={names}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
"""


@dataclass(frozen=True)
class Service:
    """The folders of systemd, and its program `systemctl`."""

    units: Path = UNITS
    running: Path = RUNNING
    systemctl: str = "systemctl"

    @property
    def unit(self) -> Path:
        """The path of Keystone's unit."""
        return self.units / SERVICE

    def ensure_runs(self) -> None:
        """Check that systemd runs this machine, and that we are root.

        Raises:
            ConfigurationError: systemd does not run this machine, or we are not root.
        """
        if not self.running.is_dir():
            raise ConfigurationError(
                "systemd does not run this machine; `keystone systemd show` prints the unit"
            )
        if os.getuid() != ROOT:
            raise ConfigurationError("only root can do this; run it with `sudo`")

    def tell(self, *words: str) -> None:
        """Run `systemctl`.

        Raises:
            PlatformError: systemctl failed.
        """
        try:
            done = subprocess.run(  # noqa: S603 — our own words, no shell
                [self.systemctl, *words],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            told = f"systemctl {words[0]} failed ({type(exc).__name__})"
            raise PlatformError(told) from exc
        if done.returncode != 0:
            raise PlatformError(f"systemctl {words[0]} failed: {done.stderr.strip()[-500:]}")


def unit_text(settings: Settings, folder: Path, environ: Mapping[str, str]) -> str:
    """Write the unit that runs Keystone in a folder, as the user who owns the data directory.

    Args:
        environ: its variables about the Docker Engine are copied into the unit.

    Raises:
        ConfigurationError: a path or value has characters that a unit cannot hold.
    """
    owner = _owner(settings.data_dir)
    filters = () if owner or not touches_firewall(settings) else (FIREWALL_LOCK,)
    sockets = [] if settings.socket_dir == settings.run_dir else [settings.socket_dir]
    made = [path for path in (claims_dir(owner), *sockets) if path.parent == Path("/run")]
    return _UNIT.format(
        mark=MARK,
        user=f"User={pwd.getpwuid(owner).pw_name}\n" if owner else "",
        folder=_line(folder),
        program=_argument(lasting_program()),
        environment="".join(f"Environment={_word(each)}\n" for each in _of_docker(environ)),
        writable=" ".join((*map(_word, _writable(settings, owner)), *filters)),
        runtime=_RUNTIME.format(names=" ".join(path.name for path in made)) if made else "",
        # A private /tmp would hide its sockets from the command line.
        private_tmp="no" if sockets and owner else "yes",
        capabilities=_capabilities(owner, is_firewall=bool(filters)),
    )


def _capabilities(owner: int, *, is_firewall: bool) -> str:
    if owner:
        return ""
    return f"{CAPABILITIES} {FIREWALL_CAPABILITIES}" if is_firewall else CAPABILITIES


def _of_docker(environ: Mapping[str, str]) -> list[str]:
    return [f"{name}={environ[name]}" for name in DOCKER if name in environ]


def _owner(data_dir: Path) -> int:
    return data_dir.stat().st_uid if data_dir.exists() else os.getuid()


def _writable(settings: Settings, owner: int) -> Sequence[str]:
    found = [settings.data_dir]
    if is_sqlite(url := settings.effective_database_url):
        home = sqlite_path(url).parent
        found += [] if home.is_relative_to(settings.data_dir) else [home]
    # The leading `-` ignores a missing folder: /run/user/UID exists only with a user session.
    return [*map(str, found), *([f"-/run/user/{owner}"] if owner else [])]


def _line(what: object) -> str:
    """Escape a text that is a whole value: only `%` has a special meaning there."""
    text = str(what)
    if not text.isprintable():
        raise ConfigurationError(f"{text!r} cannot stand in a unit of systemd; use another")
    return text.replace("%", "%%")


def _word(what: object) -> str:
    """Escape a text as one word: lines are split at spaces, and a backslash is an escape."""
    text = _line(what).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if set(" \"'\\;") & set(text) else text


def _argument(what: object) -> str:
    """Escape a text as one word of a command, where `$` expands a variable."""
    return _word(what).replace("$", "$$")


def install(service: Service, settings: Settings, folder: Path, environ: Mapping[str, str]) -> Path:
    """Install and start the service, also at each start of the machine; return the unit's path.

    Raises:
        ConfigurationError: systemd does not run this machine, or we are not root.
        ConflictError: the unit exists, and was not made by Keystone.
        PlatformError: systemctl failed.
    """
    service.ensure_runs()
    _ensure_ours(service.unit)
    # The folder must exist before the service starts: the service itself cannot make it.
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = service.unit.with_name(f".{SERVICE}.new")
    draft.write_text(unit_text(settings, folder, environ))
    draft.chmod(0o644)
    draft.replace(service.unit)
    service.tell("daemon-reload")
    service.tell("enable", SERVICE)
    # Restart, so that a running service uses the new unit.
    service.tell("restart", SERVICE)
    return service.unit


def remove(service: Service) -> Path:
    """Stop the service and remove its unit; return the unit's former path.

    Raises:
        ConfigurationError: systemd does not run this machine, or we are not root.
        ConflictError: the unit was not made by Keystone.
        NotFoundError: the unit does not exist.
        PlatformError: systemctl failed.
    """
    service.ensure_runs()
    if not service.unit.exists():
        raise NotFoundError(f"there is no {service.unit}")
    _ensure_ours(service.unit)
    service.tell("disable", "--now", SERVICE)
    service.unit.unlink()
    service.tell("daemon-reload")
    return service.unit


def _ensure_ours(unit: Path) -> None:
    if unit.exists() and not unit.read_text(errors="replace").startswith(MARK):
        raise ConflictError(f"{unit} was not made by Keystone; move it aside first")
