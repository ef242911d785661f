"""Keystone as services: units that systemd takes."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.cli.systemd_unit import (
    CAPABILITIES,
    ROUTER_SERVICE,
    SERVICE,
    runs_data_dir,
    unit_texts,
)
from jobs.errors import ConfigurationError
from jobs.processes.metadata import MARK
from jobs.processes.separation import ROUTER_CAPABILITIES
from jobs.settings import Settings
from jobs.storage.sqlite_files import sqlite_url
from tests.apart import only_root

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


def lines(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"\w+=", line))


def keystone_unit(settings: Settings, folder: Path, environ: Mapping[str, str]) -> str:
    return unit_texts(settings, folder, environ)[SERVICE]


def both(settings: Settings, folder: Path) -> list[str]:
    """Give the unit of Keystone, and that of the router."""
    texts = unit_texts(settings, folder, {})
    return [texts[SERVICE], texts[ROUTER_SERVICE]]


def verified(texts: Mapping[str, str], folder: Path) -> str:
    """Have systemd itself read units, and give its complaints."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: `make test` installs it"
    (folder / "units").mkdir()
    for name, text in texts.items():
        (folder / "units" / name).write_text(text)
    done = subprocess.run(
        [program, "verify", *(folder / "units").iterdir()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr + f"{done.returncode or ''}"


class TestTheUnit:
    def test_is_one_that_systemd_takes(self, settings: Settings, tmp_path: Path) -> None:
        assert verified(unit_texts(settings, tmp_path, os.environ), tmp_path) == ""

    def test_of_awkward_paths_too(self, tmp_path: Path) -> None:
        folder = tmp_path / '100% my "own" $folder; it\'s'
        (folder / "data").mkdir(parents=True)
        texts = unit_texts(Settings(data_dir=folder / "data"), folder, {"DOCKER_HOST": "a b"})
        assert verified(texts, tmp_path) == ""
        text = texts[SERVICE]
        assert 'Environment="DOCKER_HOST=a b"' in text
        assert f"WorkingDirectory={folder}".replace("%", "%%") in text

    def test_cannot_hold_a_line_end(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot stand in a unit"):
            keystone_unit(settings, tmp_path / "a\nUser=root", {})

    def test_leaves_root_little_but_what_its_parts_need(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        unit = lines(keystone_unit(settings, tmp_path, {}))
        assert unit["NoNewPrivileges"] == unit["RestrictSUIDSGID"] == "yes"
        assert unit["ProtectSystem"] == "strict"
        assert unit["ReadWritePaths"] == str(settings.data_dir)
        kept = set(CAPABILITIES.split())
        needed = {n for n, number in CAPABILITY_NUMBERS.items() if number in ROUTER_CAPABILITIES}
        assert len(needed) == len(ROUTER_CAPABILITIES)
        assert needed <= kept
        assert not kept & {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_NET_RAW"}

    def test_of_the_router_is_as_strict(self, settings: Settings, tmp_path: Path) -> None:
        keystone, router = (lines(text) for text in both(settings, tmp_path))
        for name in ("NoNewPrivileges", "ProtectSystem", "ReadWritePaths", "SystemCallFilter"):
            assert router[name] == keystone[name]

    def test_tells_systemd_when_it_is_ready(self, settings: Settings, tmp_path: Path) -> None:
        for unit in map(lines, both(settings, tmp_path)):
            assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
            assert int(unit["TimeoutStartSec"]) >= 600
            assert (unit["Restart"], unit["WantedBy"]) == ("always", "multi-user.target")

    def test_of_keystone_never_stops_the_router(self, settings: Settings, tmp_path: Path) -> None:
        keystone, router = both(settings, tmp_path)
        assert ROUTER_SERVICE in lines(keystone)["Wants"].split()
        assert ROUTER_SERVICE in lines(keystone)["After"].split()
        for word in ("Requires", "PartOf", "BindsTo", "Requisite", "Conflicts"):
            assert not re.search(rf"^{word}=", keystone + router, re.MULTILINE)
        assert "keystone.service" not in router
        # HAProxy outlives a main process that is killed.
        assert lines(router)["KillMode"] == "process"
        assert lines(router)["ExecReload"] == "/bin/kill -HUP $MAINPID"

    def test_of_a_router_of_ones_own_is_not_written(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        own = settings.model_copy(update={"router_socket": "/run/haproxy/admin.sock"})
        texts = unit_texts(own, tmp_path, {})
        assert list(texts) == [SERVICE]
        assert ROUTER_SERVICE not in texts[SERVICE]
        assert verified(texts, tmp_path) == ""

    def test_names_the_program_that_an_upgrade_replaces(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        ours = Path(sys.executable).parent
        assert lines(keystone_unit(settings, tmp_path, {}))["ExecStart"].startswith(f"{ours}/")
        (tmp_path / ".venv").symlink_to(ours.parent)
        (_, unit) = both(settings, tmp_path)
        assert lines(unit)["ExecStart"] == f"{tmp_path}/.venv/bin/keystone router"

    def test_is_known_by_its_data_directory(self, settings: Settings, tmp_path: Path) -> None:
        for text in both(settings, tmp_path):
            assert runs_data_dir(text, settings.data_dir)
            assert not runs_data_dir(text, tmp_path / "dat")

    def test_lets_a_database_elsewhere_be_written(self, tmp_path: Path) -> None:
        url = sqlite_url(tmp_path / "elsewhere" / "k.db")
        settings = Settings(data_dir=tmp_path / "data", database_url=url)
        unit = lines(keystone_unit(settings, tmp_path, {}))
        assert unit["ReadWritePaths"] == f"{tmp_path}/data {tmp_path}/elsewhere"

    @only_root
    def test_has_the_folders_below_run_made(self, tmp_path: Path) -> None:
        short = Settings(data_dir=Path("/opt/keystone/data"))
        assert lines(keystone_unit(short, tmp_path, {}))["RuntimeDirectory"] == "keystone-0-claims"
        long = Settings(data_dir=tmp_path / ("x" * 80))
        names = lines(keystone_unit(long, tmp_path, {}))["RuntimeDirectory"].split()
        assert [f"/run/{name}" for name in names] == [
            "/run/keystone-0-claims",
            str(long.socket_dir),
        ]

    @only_root
    def test_may_touch_the_packet_filter_only_if_there_are_rules_of_ours(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        assert "CAP_NET_ADMIN" not in keystone_unit(settings, tmp_path, {})
        blocking = settings.model_copy(update={"block_metadata": True})
        unit = lines(keystone_unit(blocking, tmp_path, {}))
        assert {"CAP_NET_ADMIN", "CAP_NET_RAW"} <= set(unit["CapabilityBoundingSet"].split())
        assert unit["ReadWritePaths"].endswith(" -/run/xtables.lock")
        settings.run_dir.mkdir(parents=True)
        (settings.run_dir / MARK).touch()
        # They are yet to be taken out.
        assert "CAP_NET_ADMIN" in keystone_unit(settings, tmp_path, {})

    @only_root
    def test_of_another_user_runs_as_that_user_and_has_no_rights_of_roots(
        self, tmp_path: Path
    ) -> None:
        data_dir, daemon = tmp_path / ("x" * 80), pwd.getpwnam("daemon")
        data_dir.mkdir()
        os.chown(data_dir, daemon.pw_uid, daemon.pw_gid)
        texts = unit_texts(Settings(data_dir=data_dir), tmp_path, {})
        unit = lines(texts[SERVICE])
        assert (unit["User"], unit["CapabilityBoundingSet"]) == ("daemon", "")
        # Its sockets lie below the temporary directory, where commands look for them.
        assert unit["PrivateTmp"] == "no"
        assert "RuntimeDirectory" not in unit
        assert lines(texts[ROUTER_SERVICE])["User"] == "daemon"
        assert verified(texts, tmp_path) == ""
