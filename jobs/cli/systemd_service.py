"""The installation of Keystone's two services of systemd, and their removal.

Source: systemctl(1), org.freedesktop.systemd1(5), systemd 252 (read 2026-11-30).
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.cli.systemd_unit import (
    MARK,
    ROUTER_SERVICE,
    SERVICE,
    START_WITHIN_S,
    runs_data_dir,
    unit_texts,
)
from jobs.errors import ConfigurationError, ConflictError, NotFoundError, PlatformError
from jobs.processes.router_control import haproxy_pids, leave, runs
from jobs.processes.router_service import configuration_file
from jobs.processes.supervise import is_up
from jobs.settings import Settings
from jobs.system.part_users import ROOT

UNITS = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")  # exists while systemd is the machine's first process
# `systemctl` waits until Keystone is ready, or has stopped.
PATIENCE_S = START_WITHIN_S + 60
WITHOUT_ROOT = (
    "only root can do this, since the units are in {units}: run it with `sudo`; the services then "
    "run as the owner of the data directory. Without root, run `keystone up` yourself, or give "
    "the output of `keystone systemd show` to who administers this machine"
)


@dataclass(frozen=True)
class Service:
    """The folders of systemd, and its programs."""

    units: Path = UNITS
    running: Path = RUNNING
    systemctl: str = "systemctl"
    busctl: str = "busctl"

    def unit(self, name: str) -> Path:
        """The path of a unit."""
        return self.units / name

    def ensure_runs(self) -> None:
        """Check that systemd runs this machine, and that we are root.

        Raises:
            ConfigurationError: systemd does not run this machine, or we are not root.
        """
        if not self.running.is_dir():
            raise ConfigurationError(
                "systemd does not run this machine; `keystone systemd show` prints the units"
            )
        if os.getuid() != ROOT:
            raise ConfigurationError(WITHOUT_ROOT.format(units=self.units))

    def tell(self, *words: str) -> None:
        """Run `systemctl`.

        Raises:
            PlatformError: systemctl failed.
        """
        done = _run(self.systemctl, *words)
        if done.returncode != 0:
            raise PlatformError(f"systemctl {' '.join(words)} failed: {done.stderr.strip()[-500:]}")

    def is_active(self, name: str) -> bool:
        """Whether a unit runs, is being started or reloads."""
        told = _run(
            self.systemctl, "show", "--value", "--property=ActiveState", name
        ).stdout.strip()
        return told in {"active", "activating", "reloading"}

    def adopt(self, name: str, pids: Sequence[int]) -> None:
        """Move processes to the control group of a unit, as if the unit had started them.

        Raises:
            PlatformError: systemd refuses.
        """
        manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
        call = (*manager, f"{manager[0]}.Manager", "AttachProcessesToUnit", "ssau", name, "")
        done = _run(self.busctl, "call", *call, str(len(pids)), *map(str, pids))
        if done.returncode != 0:
            raise PlatformError(done.stderr.strip()[-500:])


def install(
    service: Service, settings: Settings, folder: Path, environ: Mapping[str, str]
) -> list[str]:
    """Install and start the services, also at each start of the machine; say what was done.

    A router that runs already goes on serving, whoever started it.

    Raises:
        ConfigurationError: systemd does not run this machine, or we are not root.
        ConflictError: a unit exists and was not made by Keystone, or a Keystone runs without it.
        PlatformError: systemctl failed.
    """
    service.ensure_runs()
    texts = unit_texts(settings, folder, environ)
    for name in texts:
        _ensure_ours(service.unit(name))
    if is_up(settings.data_dir) and not service.is_active(SERVICE):
        raise ConflictError(
            f"a `keystone up` that systemd did not start uses {settings.data_dir}: stop it first, "
            "then run this again; its router serves the sites in the meantime"
        )
    # The folder must exist before the services start: they cannot make it themselves.
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in texts.items():
        draft = service.unit(f".{name}.new")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(service.unit(name))
    service.tell("daemon-reload")
    service.tell("enable", *texts)
    said = [f"{service.unit(name)} is installed, and started with the machine" for name in texts]
    if ROUTER_SERVICE in texts and not configuration_file(settings).exists():
        # Before the router: the first start writes the router's files, and decides on users.
        service.tell("start", "--job-mode=ignore-dependencies", SERVICE)
        service.tell("start", ROUTER_SERVICE)
        return said
    if ROUTER_SERVICE in texts:
        said += _start_router(service, settings)
    # Restart, so that a running service uses the new unit.
    service.tell("restart", SERVICE)
    return said


def _start_router(service: Service, settings: Settings) -> list[str]:
    """Start the router's service, with the HAProxy that runs, if any; say what was special."""
    config = configuration_file(settings)
    was_active, was_running = service.is_active(ROUTER_SERVICE), runs(config)
    # The keeper ends, and HAProxy goes on: the keeper that systemd starts adopts it.
    leave(settings.run_dir)
    service.tell("start", ROUTER_SERVICE)
    if was_active or not was_running:
        return []
    told = "HAProxy goes on serving; its service confines it from its next start on"
    try:
        service.adopt(ROUTER_SERVICE, haproxy_pids(config))
    except PlatformError as exc:
        return [f"{told}; until then it ends with the session of who started it ({exc})"]
    return [told]


def remove(service: Service, *, with_router: bool = True) -> list[Path]:
    """Stop the services and remove their units; return the units' former paths.

    Raises:
        ConfigurationError: systemd does not run this machine, or we are not root.
        ConflictError: a unit was not made by Keystone.
        NotFoundError: there are no units.
        PlatformError: systemctl failed.
    """
    service.ensure_runs()
    chosen = [SERVICE, *([ROUTER_SERVICE] if with_router else [])]
    found = [name for name in chosen if service.unit(name).exists()]
    if not found:
        raise NotFoundError(f"there is no {service.unit(SERVICE)}")
    for name in found:
        _ensure_ours(service.unit(name))
    for name in found:
        service.tell("disable", "--now", name)
        service.unit(name).unlink()
    service.tell("daemon-reload")
    return [service.unit(name) for name in found]


def active_units(service: Service, settings: Settings) -> list[str]:
    """Give the units that run the Keystone of these settings now, in the order to stop them in."""
    if not service.running.is_dir():
        return []
    return [
        name
        for name in (SERVICE, ROUTER_SERVICE)
        if _is_ours(service.unit(name))
        and runs_data_dir(
            service.unit(name).read_text(encoding="utf-8", errors="replace"), settings.data_dir
        )
        and service.is_active(name)
    ]


def stop(service: Service, settings: Settings, *, with_router: bool = True) -> list[str]:
    """Stop this Keystone's services, if systemd runs them; return their units.

    systemd would start a service again that is stopped in another way. They stay enabled.

    Raises:
        ConfigurationError: we are not root.
        PlatformError: systemctl failed.
    """
    names = active_units(service, settings)
    names = names if with_router else [name for name in names if name != ROUTER_SERVICE]
    if names and os.getuid() != ROOT:
        units = " ".join(names)
        raise ConfigurationError(
            f"systemd runs this Keystone, so only root can stop it: `systemctl stop {units}`"
        )
    for name in names:
        service.tell("stop", name)
    return names


def _ensure_ours(unit: Path) -> None:
    if unit.exists() and not _is_ours(unit):
        raise ConflictError(f"{unit} was not made by Keystone; move it aside first")


def _is_ours(unit: Path) -> bool:
    return unit.exists() and unit.read_text(errors="replace", encoding="utf-8").startswith(MARK)


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 — our own words, no shell
            words,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as exc:
        told = f"{' '.join(words[:2])} failed ({type(exc).__name__})"
        raise PlatformError(told) from exc
