"""Looking at what Keystone needs, on machines where something is wrong."""

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.doctor import Finding, Verdict, examine
from jobs.runtime import open_runtime
from jobs.settings import AllSettings, PortRange
from jobs.supervise import take_over
from tests.haproxy import free_ports


@pytest.fixture
def settings(tmp_path: Path) -> AllSettings:
    """A Keystone that was never started, on ports of its own."""
    web, first, last = sorted(free_ports(3))
    return AllSettings(
        data_dir=tmp_path / "data", port=web, port_range=PortRange(first=first, last=last)
    )


def finding(settings: AllSettings, name: str) -> Finding:
    """Look, and give one of the findings."""
    return next(found for found in examine(settings) if found.name == name)


@pytest.fixture
def listener(settings: AllSettings) -> Iterator[int]:
    """Some other program that listens where the web process would."""
    with socket.create_server((settings.host, settings.port)):
        yield settings.port


def test_whatever_is_wrong_comes_with_what_to_do(settings: AllSettings, listener: int) -> None:
    for found in examine(settings.model_copy(update={"redis_url": "unix:///nowhere.sock"})):
        assert (found.verdict is Verdict.FAILED) == bool(found.fix)


def test_programs_that_are_missing_are_named_with_their_package(
    settings: AllSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("git", "redis-server"):
        found = finding(settings, name)
        assert (found.verdict, found.fix) == (Verdict.FAILED, f"apt-get install {name}")


def test_a_program_that_does_not_run_is_not_taken_for_one(
    settings: AllSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").write_text("#!/bin/false\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert finding(settings, "git").found.endswith("does not run (CalledProcessError)")


def test_a_port_that_another_program_has_is_told(settings: AllSettings, listener: int) -> None:
    found = finding(settings, "web")
    assert found.verdict is Verdict.FAILED
    assert found.found == f"another program listens on 127.0.0.1:{listener}"


def test_an_address_of_another_machine_is_told(settings: AllSettings) -> None:
    foreign = settings.model_copy(update={"host": "192.0.2.1", "app_bind": "192.0.2.1"})
    assert finding(foreign, "web").fix == "correct KEYSTONE_HOST"
    assert finding(foreign, "app ports").fix == "correct KEYSTONE_APP_BIND"


def test_a_range_without_a_free_port_is_told(settings: AllSettings) -> None:
    port = settings.port_range.first
    one = settings.model_copy(update={"port_range": PortRange(first=port, last=port)})
    assert finding(one, "app ports").verdict is Verdict.OK
    with socket.create_server((settings.app_bind, port)):
        assert finding(one, "app ports").fix == "set another KEYSTONE_PORT_RANGE"


def test_a_disk_below_the_floor_is_told(settings: AllSettings) -> None:
    assert finding(settings, "disk").verdict is Verdict.OK
    floor = shutil.disk_usage("/").total
    assert (
        "KEYSTONE_MIN_FREE_DISK_MB"
        in finding(settings.model_copy(update={"min_free_disk_mb": floor}), "disk").fix
    )


def test_a_data_directory_that_cannot_be_made_is_told(
    settings: AllSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    inside_a_file = settings.model_copy(update={"data_dir": tmp_path / "file" / "data"})
    assert finding(inside_a_file, "data directory").verdict is Verdict.FAILED


def test_a_schema_of_another_version_is_told(settings: AllSettings) -> None:
    open_runtime(settings).database.close()
    assert finding(settings, "database").verdict is Verdict.OK
    with sqlite3.connect(settings.data_dir / "keystone.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    database.close()
    assert finding(settings, "database").fix == "keystone migrate"


def test_a_database_that_is_none_is_told(settings: AllSettings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "keystone.db").write_text("this is no database" * 100)
    found = finding(settings, "database")
    assert (found.verdict, found.found) == (Verdict.FAILED, "cannot be used (DatabaseError)")


def test_while_keystone_is_up_its_parts_must_answer(settings: AllSettings) -> None:
    with take_over(settings.data_dir):
        for name in ("redis", "router", "web"):
            found = finding(settings, name)
            assert found.verdict is Verdict.FAILED
            assert "see what `keystone up` prints" in found.fix
