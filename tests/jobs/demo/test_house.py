"""The demo's own Keystone: it takes nothing over from a real one."""

import socket
from pathlib import Path

import pytest

from jobs.demo.house import APP_PORTS, HOST, demo_environment, running
from jobs.errors import PlatformError
from jobs.processes.configuration import read_settings
from jobs.processes.router_server import is_free
from jobs.settings import AllSettings
from tests.haproxy import free_ports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo's folder."""
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o700)
    return folder


def read(environ: dict[str, str], folder: Path) -> AllSettings:
    """Read the settings that an environment makes."""
    return read_settings(AllSettings, environ, env_file=folder / "none")


def test_nothing_of_a_real_keystone_is_taken_over(folder: Path) -> None:
    real = {
        "PATH": "/bin",
        "KEYSTONE_DATABASE_URL": "postgresql+psycopg://production",
        "KEYSTONE_REDIS_URL": "redis://production",
        "KEYSTONE_GITHUB_TOKEN": "a real token",
    }
    environ = demo_environment(folder, real)
    assert environ["PATH"] == "/bin"
    settings = read(environ, folder)
    assert (settings.database_url, settings.redis_url) == ("", "")
    assert settings.github_token.get_secret_value() == ""
    assert settings.data_dir == folder


def test_the_login_stays_the_same(folder: Path) -> None:
    first, second = (demo_environment(folder, {}) for _ in range(2))
    assert first["KEYSTONE_ADMIN_PASSWORD"] == second["KEYSTONE_ADMIN_PASSWORD"]
    assert (folder / "admin-password").stat().st_mode & 0o777 == 0o600


def test_ports_that_are_taken_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ports of our own: a demo that another test has started looks for some at any moment.
    first, *_ = free_ports(4 * APP_PORTS)
    ports = range(first, first + APP_PORTS)
    monkeypatch.setattr("jobs.demo.house.PORTS", ports)
    ranges = range(ports.stop, first + 4 * APP_PORTS, APP_PORTS)
    monkeypatch.setattr("jobs.demo.house.APP_PORT_RANGES", ranges)
    before = read(demo_environment(folder, {}), folder)
    assert before.port in ports
    with (
        socket.create_server((HOST, before.port)),
        socket.create_server((HOST, before.port_range.first + 2)),
    ):
        after = read(demo_environment(folder, {}), folder)
        assert is_free(HOST, after.port)
    assert after.port != before.port
    assert after.port_range.first != before.port_range.first


def test_a_keystone_that_does_not_start_is_quoted(
    folder: Path,
) -> None:
    environ = demo_environment(folder, {"PATH": "/nowhere"})
    with (
        pytest.raises(PlatformError, match="redis-server is not installed"),
        running(folder, environ),
    ):
        pytest.fail("it cannot be running")
