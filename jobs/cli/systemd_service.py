"""The installation of Keystone's two services of systemd, and their removal.

Source: systemctl(1), org.freedesktop.systemd1(5), systemd 252 (read 2026-11-30).
"""

import os
import subprocess
from collections.abc import Mapping
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
    """The folders of systemd, and its program `systemctl`."""

    units: Path = UNITS
    running: Path = RUNNING
    systemctl: str = "systemctl"

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
        done = self._run(*words)
        if done.returncode != 0:
            raise PlatformError(f"systemctl {' '.join(words)} failed: {done.stderr.strip()[-500:]}")

    def is_active(self, name: str) -> bool:
        """Whether a unit runs, is being started or reloads."""
        told = self._run("show", "--value", "--property=ActiveState", name).stdout.strip()
        return told in {"active", "activating", "reloading"}

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(  # noqa: S603 — our own words, no shell
                [self.systemctl, *words],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            told = f"systemctl {words[0]} failed ({type(exc).__name__})"
            raise PlatformError(told) from exc


def install(
    service: Service, settings: Settings, folder: Path, environ: Mapping[str, str]
) -> list[Path]:
    """Install and start the services, also at each start of the machine; return the units' paths.

    A router that runs already goes on, whoever started it.

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
        draft.write_text(text)
        draft.chmod(0o644)
        draft.replace(service.unit(name))
    service.tell("daemon-reload")
    service.tell("enable", *texts)
    # Restart, so that a running service uses the new unit.
    service.tell("restart", SERVICE)
    return [service.unit(name) for name in texts]


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
        and runs_data_dir(service.unit(name).read_text(), settings.data_dir)
        and service.is_active(name)
    ]


def stop(service: Service, settings: Settings) -> list[str]:
    """Stop this Keystone's services and its router, if systemd runs them; return their units.

    systemd would start a service again that is stopped in another way. They stay enabled.

    Raises:
        ConfigurationError: we are not root.
        PlatformError: systemctl failed.
    """
    names = active_units(service, settings)
    if names:
        service.ensure_runs()
    for name in names:
        service.tell("stop", name)
    return names


def _ensure_ours(unit: Path) -> None:
    if unit.exists() and not _is_ours(unit):
        raise ConflictError(f"{unit} was not made by Keystone; move it aside first")


def _is_ours(unit: Path) -> bool:
    return unit.exists() and unit.read_text(errors="replace").startswith(MARK)
