"""Keystone as a service: a unit that systemd takes, and where it is put."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.cli.systemd_unit import CAPABILITIES, Service, install, remove, unit_text
from jobs.errors import ConfigurationError, ConflictError, NotFoundError, PlatformError
from jobs.processes.metadata import MARK
from jobs.processes.separation import ROUTER_CAPABILITIES
from jobs.settings import Settings
from jobs.storage.sqlite_files import sqlite_url
from jobs.system.privileges import Rights
from jobs.system.run_as import run_as
from tests.apart import NOBODY, only_root

# As systemd calls them, by their numbers of capabilities(7).
CAPABILITY_NUMBERS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_RESOURCE": 24,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A systemd whose `systemctl` writes down what it is told."""
    for name in ("units", "running"):
        (tmp_path / name).mkdir()
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/told\n')
    systemctl.chmod(0o755)
    return Service(tmp_path / "units", tmp_path / "running", str(systemctl))


def told(service: Service) -> list[str]:
    return Path(service.systemctl).with_name("told").read_text().splitlines()


def lines(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"\w+=", line))


def verified(text: str, tmp_path: Path) -> str:
    """Have systemd itself read a unit, and give its complaints."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: `make test` installs it"
    file = tmp_path / "keystone.service"
    file.write_text(text)
    done = subprocess.run(
        [program, "verify", file], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr + f"{done.returncode or ''}"


class TestTheUnit:
    def test_is_one_that_systemd_takes(self, settings: Settings, tmp_path: Path) -> None:
        assert verified(unit_text(settings, tmp_path, os.environ), tmp_path) == ""

    def test_of_awkward_paths_too(self, tmp_path: Path) -> None:
        folder = tmp_path / '100% my "own" $folder; it\'s'
        (folder / "data").mkdir(parents=True)
        text = unit_text(Settings(data_dir=folder / "data"), folder, {"DOCKER_HOST": "a b"})
        assert verified(text, tmp_path) == ""
        assert 'Environment="DOCKER_HOST=a b"' in text
        assert f"WorkingDirectory={folder}".replace("%", "%%") in text

    def test_cannot_hold_a_line_end(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot stand in a unit"):
            unit_text(settings, tmp_path / "a\nUser=root", {})

    def test_leaves_root_little_but_what_its_parts_need(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        unit = lines(unit_text(settings, tmp_path, {}))
        assert unit["NoNewPrivileges"] == unit["RestrictSUIDSGID"] == "yes"
        assert unit["ProtectSystem"] == "strict"
        assert unit["ReadWritePaths"] == str(settings.data_dir)
        kept = set(CAPABILITIES.split())
        needed = {n for n, number in CAPABILITY_NUMBERS.items() if number in ROUTER_CAPABILITIES}
        assert len(needed) == len(ROUTER_CAPABILITIES)
        assert needed <= kept
        assert not kept & {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_NET_RAW"}

    def test_lets_a_database_elsewhere_be_written(self, tmp_path: Path) -> None:
        url = sqlite_url(tmp_path / "elsewhere" / "k.db")
        settings = Settings(data_dir=tmp_path / "data", database_url=url)
        unit = lines(unit_text(settings, tmp_path, {}))
        assert unit["ReadWritePaths"] == f"{tmp_path}/data {tmp_path}/elsewhere"

    @only_root
    def test_has_the_folders_below_run_made(self, tmp_path: Path) -> None:
        short = Settings(data_dir=Path("/opt/keystone/data"))
        assert lines(unit_text(short, tmp_path, {}))["RuntimeDirectory"] == "keystone-0-claims"
        long = Settings(data_dir=tmp_path / ("x" * 80))
        names = lines(unit_text(long, tmp_path, {}))["RuntimeDirectory"].split()
        assert [f"/run/{name}" for name in names] == [
            "/run/keystone-0-claims",
            str(long.socket_dir),
        ]

    @only_root
    def test_may_touch_the_packet_filter_only_if_there_are_rules_of_ours(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        assert "CAP_NET_ADMIN" not in unit_text(settings, tmp_path, {})
        blocking = settings.model_copy(update={"block_metadata": True})
        unit = lines(unit_text(blocking, tmp_path, {}))
        assert {"CAP_NET_ADMIN", "CAP_NET_RAW"} <= set(unit["CapabilityBoundingSet"].split())
        assert unit["ReadWritePaths"].endswith(" -/run/xtables.lock")
        settings.run_dir.mkdir(parents=True)
        (settings.run_dir / MARK).touch()
        # They are yet to be taken out.
        assert "CAP_NET_ADMIN" in unit_text(settings, tmp_path, {})

    @only_root
    def test_of_another_user_runs_as_that_user_and_has_no_rights_of_roots(
        self, tmp_path: Path
    ) -> None:
        data_dir, daemon = tmp_path / ("x" * 80), pwd.getpwnam("daemon")
        data_dir.mkdir()
        os.chown(data_dir, daemon.pw_uid, daemon.pw_gid)
        text = unit_text(Settings(data_dir=data_dir), tmp_path, {})
        unit = lines(text)
        assert (unit["User"], unit["CapabilityBoundingSet"]) == ("daemon", "")
        # Its sockets lie below the temporary directory, where commands look for them.
        assert unit["PrivateTmp"] == "no"
        assert "RuntimeDirectory" not in unit
        assert verified(text, tmp_path) == ""


@only_root
class TestInstalling:
    def test_puts_the_unit_in_its_place_and_starts_it(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        assert install(service, settings, tmp_path, {}) == service.unit
        assert service.unit.read_text() == unit_text(settings, tmp_path, {})
        assert service.unit.stat().st_mode & 0o777 == 0o644
        assert settings.data_dir.stat().st_mode & 0o777 == 0o700
        assert told(service) == [
            "daemon-reload",
            "enable keystone.service",
            "restart keystone.service",
        ]
        assert [path.name for path in service.units.iterdir()] == ["keystone.service"]

    def test_again_replaces_its_own(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        install(service, settings, tmp_path, {})
        install(service, settings, tmp_path, {"DOCKER_HOST": "unix:///other.sock"})
        assert "Environment=DOCKER_HOST=unix:///other.sock" in service.unit.read_text()

    def test_leaves_a_unit_of_somebody_elses_alone(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        service.unit.write_text("[Service]\nExecStart=/bin/true\n")
        with pytest.raises(ConflictError, match="was not made by Keystone"):
            install(service, settings, tmp_path, {})
        with pytest.raises(ConflictError, match="was not made by Keystone"):
            remove(service)
        assert "/bin/true" in service.unit.read_text()

    def test_tells_what_systemd_refuses(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        Path(service.systemctl).write_text("#!/bin/sh\necho 'no such thing' >&2; exit 5\n")
        with pytest.raises(PlatformError, match="daemon-reload failed: no such thing"):
            install(service, settings, tmp_path, {})

    def test_needs_a_machine_that_systemd_runs(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        service.running.rmdir()
        with pytest.raises(ConfigurationError, match="systemd show"):
            install(service, settings, tmp_path, {})
        assert not service.unit.exists()

    def test_needs_root(self) -> None:
        def try_it() -> str:
            with pytest.raises(ConfigurationError, match="only root") as refused:
                Service(running=Path("/proc")).ensure_runs()
            return str(refused.value)

        assert "sudo" in run_as(Rights(NOBODY, NOBODY), try_it)


@only_root
class TestRemoving:
    def test_stops_it_and_takes_the_unit_away(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        install(service, settings, tmp_path, {})
        assert remove(service) == service.unit
        assert not service.unit.exists()
        assert told(service)[-2:] == ["disable --now keystone.service", "daemon-reload"]
        assert settings.data_dir.exists()

    def test_what_is_not_there_is_told(self, service: Service) -> None:
        with pytest.raises(NotFoundError, match="there is no"):
            remove(service)
