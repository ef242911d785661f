"""The systemd units that run the Keystone of one folder and its router: their texts.

Source: systemd.exec(5), systemd.service(5) (read 2026-11-30).
"""

import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.errors import ConfigurationError
from jobs.processes.metadata import touches_firewall
from jobs.settings import Settings
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.system.installation import code_folder, lasting_program
from jobs.system.private_folder import claims_dir

SERVICE, ROUTER_SERVICE = "keystone.service", "keystone-router.service"
PRIVATE_FOLDERS = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 — those of PrivateTmp
MARK = "# Made by `keystone systemd install`; the next one replaces it."
# Copied into the unit from the environment of the command; Keystone's own settings are in `.env`.
DOCKER = ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
START_WITHIN_S = 900
# Root needs these to start the parts as users of their own; HAProxy needs them to change its user.
CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_NET_BIND_SERVICE "
    "CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT CAP_SYS_RESOURCE"
)
# For adding and removing rules of the packet filter; some versions of iptables use a lock file.
FIREWALL_CAPABILITIES = "CAP_NET_ADMIN CAP_NET_RAW"
FIREWALL_LOCK = "-/run/xtables.lock"

_KEYSTONE = """\
{mark}
[Unit]
Description=Keystone, which deploys what is pushed
# The router is only started before Keystone: it goes on when Keystone is stopped or restarted.
Wants=network-online.target{router}
After=network-online.target docker.service{router}
# Restart without a limit, as Keystone restarts its own parts.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{user}WorkingDirectory={folder}
ExecStart={program} up --no-router
{environment}SyslogIdentifier=keystone
KillMode=mixed
# It is ready once the web process accepts pushes; before that, a migration may take its time.
TimeoutStartSec={start_s}
TimeoutStopSec=120
Restart=always
RestartSec=2
OOMScoreAdjust=-500
{hardening}
[Install]
WantedBy=multi-user.target
"""

_ROUTER = """\
{mark}
[Unit]
Description=The router of Keystone's apps
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{user}WorkingDirectory={folder}
ExecStart={program} router
ExecReload=/bin/kill -HUP $MAINPID
SyslogIdentifier=keystone-router
# The main process starts and stops HAProxy. If it is killed, HAProxy goes on, and the next main
# process finds it.
KillMode=process
# So that a HAProxy that was started without systemd can be moved here.
Delegate=yes
TimeoutStartSec={start_s}
TimeoutStopSec=60
Restart=always
RestartSec=1
OOMScoreAdjust=-600
{hardening}
[Install]
WantedBy=multi-user.target
"""

# The same for both services.
_HARDENING = """\
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
"""

# The folders of Keystone below /run, the only ones there that its service may write to. They stay
# after the service is stopped, because a command may hold a lock in them.
_RUNTIME = """\
RuntimeDirectory={names}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
"""


def unit_texts(settings: Settings, folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Write the units that run Keystone in a folder, as the user who owns the data directory.

    Args:
        environ: its variables about the Docker Engine are copied into Keystone's unit.

    Returns:
        The texts by the units' names, the router's first.

    Raises:
        ConfigurationError: a path or value has characters that a unit cannot hold.
    """
    owner = _owner(settings.data_dir)
    common = {
        "mark": MARK,
        "user": f"User={pwd.getpwuid(owner).pw_name}\n" if owner else "",
        "folder": _line(folder),
        "program": _argument(lasting_program()),
        "start_s": START_WITHIN_S,
    }
    router = _hardening(settings, owner, is_firewall=False)
    is_firewall = not owner and touches_firewall(settings)
    keystone = _KEYSTONE.format(
        **common,
        router="" if settings.router_socket else f" {ROUTER_SERVICE}",
        environment="".join(f"Environment={_word(each)}\n" for each in _of_docker(environ)),
        hardening=_hardening(settings, owner, is_firewall=is_firewall),
    )
    if settings.router_socket:
        # A HAProxy of the operator's own has a service of its own.
        return {SERVICE: keystone}
    return {ROUTER_SERVICE: _ROUTER.format(**common, hardening=router), SERVICE: keystone}


def runs_data_dir(unit: str, data_dir: Path) -> bool:
    """Whether a unit of ours runs the Keystone with that data directory."""
    return any(
        f"{line} ".startswith(f"ReadWritePaths={_word(data_dir)} ") for line in unit.splitlines()
    )


def _hardening(settings: Settings, owner: int, *, is_firewall: bool) -> str:
    filters = (FIREWALL_LOCK,) if is_firewall else ()
    sockets = [] if settings.socket_dir == settings.run_dir else [settings.socket_dir]
    made = [path for path in (claims_dir(owner), *sockets) if path.parent == Path("/run")]
    return _HARDENING.format(
        writable=" ".join((*map(_word, _writable(settings, owner)), *filters)),
        runtime=_RUNTIME.format(names=" ".join(path.name for path in made)) if made else "",
        # A private /tmp would hide its sockets from the command line, or the program itself.
        private_tmp="no" if (sockets and owner) or _needs_tmp(settings) else "yes",
        capabilities=_capabilities(owner, is_firewall=is_firewall),
    )


def _needs_tmp(settings: Settings) -> bool:
    """Whether the program or the data is in a folder that a service may have for itself alone."""
    needed = (lasting_program(), Path(sys.prefix).resolve(), code_folder(), settings.data_dir)
    return any(path.is_relative_to(folder) for path in needed for folder in PRIVATE_FOLDERS)


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
