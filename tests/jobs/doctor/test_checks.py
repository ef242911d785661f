"""Looking at what Keystone needs, on machines where something is wrong."""

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.cli.up import ensure_able
from jobs.doctor.checks import examine
from jobs.errors import ConfigurationError
from jobs.processes.runtime import Runtime, open_runtime
from jobs.processes.separation import Together, note_users
from jobs.processes.supervise import take_over
from jobs.records.apps import add_app
from jobs.records.certificates import set_certificate
from jobs.records.domains import note_domain_ports
from jobs.rules.actors import KEYSTONE
from jobs.rules.app_fields import AppInput
from jobs.rules.certificates import Bundle
from jobs.rules.findings import Finding, Verdict
from jobs.rules.port_range import PortRange
from jobs.settings import AllSettings
from jobs.storage.models import CatchUp, now
from tests.haproxy import free_ports, running_router
from tests.jobs.duties.test_note_health import add_worker


@pytest.fixture
def settings(tmp_path: Path) -> AllSettings:
    """A Keystone that was never started, on ports of its own."""
    web, http, https, first, last = free_ports(5)
    return AllSettings(
        data_dir=tmp_path / "data",
        port=web,
        port_range=PortRange(first=first, last=last),
        http_port=http,
        https_port=https,
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
        assert (found.verdict in {Verdict.FAILED, Verdict.WARNING}) == bool(found.fix)


@pytest.mark.parametrize(
    ("program", "setting", "value"),
    [
        ("redis-server", "redis_url", "unix:///run/redis.sock"),
        ("haproxy", "router_socket", "/run/haproxy.sock"),
    ],
)
def test_what_somebody_else_runs_need_not_be_installed(
    settings: AllSettings,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    setting: str,
    value: str,
) -> None:
    for found in ("jobs.doctor.checks", "jobs.cli.up"):
        monkeypatch.setattr(f"{found}.find_redis_server", lambda: None)
        monkeypatch.setattr(f"{found}.find_haproxy", lambda: None)
    assert finding(settings, program).verdict is Verdict.FAILED
    with pytest.raises(ConfigurationError, match=f"{program} is not installed"):
        ensure_able(settings)
    others = settings.model_copy(update={setting: value})
    assert finding(others, program).verdict is Verdict.OK
    with pytest.raises(ConfigurationError) as refused:
        ensure_able(others)
    assert program not in str(refused.value)


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


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine may take its time: it counts slowly, and for one who asks at a time."""
    monkeypatch.setattr("jobs.doctor.checks.PATIENCE_S", 60)


@pytest.mark.docker
@pytest.mark.usefixtures("patience")
def test_what_keystone_uses_is_told(settings: AllSettings) -> None:
    open_runtime(settings).database.close()
    settings.logs_dir.mkdir()
    (settings.logs_dir / "1.log").write_bytes(b"x" * 3_500_000)
    found = finding(settings, "engine space")
    assert found.verdict is Verdict.OK
    assert found.found.startswith("0 images, 0 MB at most; 0 containers; the engine's build cache")
    assert found.found.endswith(" MB free")
    assert finding(settings, "data space").found == "logs 3 MB, mirrors 0 MB, database 0 MB"


@pytest.mark.docker
@pytest.mark.usefixtures("patience")
def test_the_engines_disk_below_the_floor_is_told(settings: AllSettings) -> None:
    floor = shutil.disk_usage("/").total
    found = finding(settings.model_copy(update={"min_free_disk_mb": floor}), "engine space")
    assert found.verdict is Verdict.FAILED
    assert "KEYSTONE_MIN_FREE_DISK_MB" in found.fix


def test_an_engine_that_is_down_is_told_once(
    settings: AllSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    found = {each.name: each for each in examine(settings)}
    assert found["docker"].verdict is Verdict.FAILED
    assert found["engine space"].verdict is Verdict.IDLE


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("2.4.22", Verdict.FAILED), ("2.6.12", Verdict.OK), ("3.2.9", Verdict.OK)],
)
def test_a_haproxy_that_is_too_old_is_told(
    settings: AllSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    verdict: Verdict,
) -> None:
    program = tmp_path / "haproxy"
    program.write_text(f"#!/bin/sh\necho 'HAProxy version {version}-1ubuntu1 2025/01/01'\n")
    program.chmod(0o755)
    monkeypatch.setattr("jobs.doctor.checks.find_haproxy", lambda: str(program))
    found = finding(settings, "haproxy")
    assert found.verdict is verdict
    assert version in found.found
    assert ("2.6 or newer" in found.fix) == (verdict is Verdict.FAILED)


@pytest.mark.parametrize("is_installed", [True, False])
def test_podman_without_an_init_is_told(
    settings: AllSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_installed: bool
) -> None:
    monkeypatch.setattr(DockerEngine, "version", lambda _: "5.4.2")
    monkeypatch.setattr(DockerEngine, "components", lambda _: {"Podman Engine": "5.4.2"})
    monkeypatch.setattr("jobs.doctor.engine_check.INIT_FOLDERS", str(tmp_path))
    monkeypatch.setattr("jobs.doctor.engine_check.INIT", "an-init-that-no-machine-has")
    if is_installed:
        (tmp_path / "an-init-that-no-machine-has").touch(mode=0o755)
    found = finding(settings, "docker")
    assert (found.verdict is Verdict.OK) == is_installed
    assert found.found.startswith("Podman 5.4.2")
    assert ("an-init-that-no-machine-has" in found.fix) != is_installed


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


def test_without_a_worker_nothing_is_deployed_and_that_is_told(
    settings: AllSettings, redis_url: str
) -> None:
    settings = settings.model_copy(update={"redis_url": redis_url})
    runtime = open_runtime(settings)
    runtime.database.close()
    assert finding(settings, "workers").verdict is Verdict.IDLE
    with Redis.from_url(redis_url) as redis, take_over(settings.data_dir):
        redis.flushall()
        found = finding(settings, "workers")
        assert (found.verdict, found.found) == (
            Verdict.FAILED,
            "none was heard of within a minute",
        )
        add_worker(redis, runtime.queue.name())
        found = finding(settings, "workers")
        assert (found.verdict, found.found) == (Verdict.OK, "1 heard of within a minute")


def test_a_redis_that_is_down_is_told_once(settings: AllSettings, tmp_path: Path) -> None:
    open_runtime(settings).database.close()
    lost = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"})
    with take_over(settings.data_dir):
        found = {each.name: each for each in examine(lost)}
    assert found["redis"].verdict is Verdict.FAILED
    assert found["workers"].verdict is Verdict.IDLE


# --- The router ------------------------------------------------------------------------------


@contextmanager
def running(settings: AllSettings, tmp_path: Path) -> Iterator[AllSettings]:
    """Run a router for this Keystone, as `keystone up` would."""
    open_runtime(settings).database.close()
    with running_router(tmp_path) as router, take_over(settings.data_dir):
        yield settings.model_copy(update={"router_socket": str(router.folder / "router.sock")})


def test_a_router_that_an_older_keystone_has_set_up_is_told(
    settings: AllSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings, tmp_path) as up:
        assert finding(up, "router").verdict is Verdict.OK
        monkeypatch.setattr("jobs.adapters.haproxy.router.DESCRIPTION", "a newer one")
        found = finding(up, "router")
    assert found.verdict is Verdict.FAILED
    assert "keystone router --write" in found.fix


def test_a_proxy_that_is_not_believed_is_told(settings: AllSettings, tmp_path: Path) -> None:
    with running(settings, tmp_path) as up:
        found = finding(up, "proxies")
        assert (found.verdict, found.found) == (Verdict.OK, "believed: none")
        router = HAProxyRouter(Path(up.router_socket))
        with socket.create_connection(("127.0.0.1", min(ports_of(router))), 60) as visitor:
            visitor.sendall(b"GET / HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
            visitor.recv(1000)
        found = finding(up, "proxies")
    assert found.verdict is Verdict.IDLE
    assert "of 127.0.0.1 is not believed" in found.found


def ports_of(router: HAProxyRouter) -> set[int]:
    """Give the ports of apps that a router listens on."""
    rows = router._ask("show servers state").splitlines()
    return {int(row.split()[1].removeprefix("port_")) for row in rows if " port_" in row}


# --- Domains ---------------------------------------------------------------------------------


@pytest.fixture
def runtime(settings: AllSettings) -> Iterator[Runtime[AllSettings]]:
    """The Keystone after it was started once."""
    runtime = open_runtime(settings)
    yield runtime
    runtime.database.close()


def add_domain(runtime: Runtime[AllSettings]) -> None:
    """Have an app with a domain."""
    wanted = AppInput(name="web", repository="octo/web", domains=["a.example"])
    with runtime.database.writing() as session:
        add_app(session, wanted, KEYSTONE, settings=runtime.settings, vault=runtime.vault)


def test_ports_for_domains_that_are_free_are_named(settings: AllSettings) -> None:
    found = finding(settings, "domain ports")
    told = f"0.0.0.0, http on {settings.http_port}, https on {settings.https_port}"
    assert (found.verdict, found.found) == (Verdict.OK, told)
    off = settings.model_copy(update={"http_port": 0, "https_port": 0})
    assert finding(off, "domain ports").found.startswith("off: ")


def test_a_taken_port_for_domains_matters_once_an_app_has_a_domain(
    settings: AllSettings, runtime: Runtime[AllSettings]
) -> None:
    with socket.create_server(("127.0.0.1", settings.http_port)):
        found = finding(settings, "domain ports")
        assert (found.verdict, found.fix) == (Verdict.IDLE, "")
        assert found.found.startswith(f"another program listens on port {settings.http_port};")
        add_domain(runtime)
        found = finding(settings, "domain ports")
    assert found.verdict is Verdict.FAILED
    assert "KEYSTONE_HTTP_PORT" in found.fix


def test_what_the_router_could_not_have_is_told_while_it_runs(
    settings: AllSettings, runtime: Runtime[AllSettings]
) -> None:
    add_domain(runtime)
    with runtime.database.writing() as session:
        note_domain_ports(session, {"https": settings.https_port})
    with take_over(settings.data_dir):
        found = finding(settings, "domain ports")
    assert found.verdict is Verdict.FAILED
    assert f"could not listen on port {settings.http_port} when" in found.found


def test_an_address_for_domains_of_another_machine_is_told(settings: AllSettings) -> None:
    foreign = settings.model_copy(update={"domain_bind": "192.0.2.1"})
    assert finding(foreign, "domain ports").fix == "correct KEYSTONE_DOMAIN_BIND"


@pytest.mark.parametrize(("days", "verdict"), [(31, Verdict.OK), (5, Verdict.FAILED)])
def test_a_certificate_that_ends_soon_is_told(
    settings: AllSettings, runtime: Runtime[AllSettings], days: int, verdict: Verdict
) -> None:
    bundle = Bundle(SecretStr("pem"), now() + timedelta(days=days))
    with runtime.database.writing() as session:
        set_certificate(session, "a.example", bundle, KEYSTONE, vault=runtime.vault)
    found = finding(settings, "certificates")
    assert found.verdict is verdict
    assert ("a.example expires on" in found.found) == (verdict is Verdict.FAILED)


def test_a_search_for_missed_pushes_that_comes_to_nothing_is_told(
    settings: AllSettings, runtime: Runtime[AllSettings]
) -> None:
    assert finding(settings, "missed pushes").verdict is Verdict.OK
    add_domain(runtime)
    trouble = CatchUp(
        repository_id=1,
        looked_at=now(),
        settled_until=now() - timedelta(hours=3),
        problem="GitHub says the token is expired or wrong",
    )
    with runtime.database.writing() as session:
        session.add(trouble)
    found = finding(settings, "missed pushes")
    assert found.verdict is Verdict.FAILED
    assert "octo/web: GitHub says the token is expired or wrong" in found.found


def test_an_engine_with_known_escapes_is_told_and_keeps_nothing_from_running(
    settings: AllSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"Engine": "26.1.4", "runc": "1.1.12"}
    monkeypatch.setattr("jobs.adapters.docker.engine.DockerEngine.components", lambda _: versions)
    found = finding(settings, "known escapes")
    assert found.verdict is Verdict.WARNING
    assert found.found == "Docker Engine 26.1.4 has 6, runc 1.1.12 has 3"
    assert "Docker Engine 26.1.4: CVE-2024-41110 (with authorization plugins), " in found.fix
    assert "runc 1.1.12: CVE-2025-31133, " in found.fix
    versions.update({"Engine": "29.9.0", "runc": "1.4.1"})
    assert finding(settings, "known escapes").verdict is Verdict.OK


def test_an_engine_that_does_not_answer_is_not_suspected(
    settings: AllSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert finding(settings, "known escapes").verdict is Verdict.IDLE


class TestWhomItRunsAs:
    def test_somebody_else_is_told_that_all_is_theirs(
        self, settings: AllSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.doctor.safety.os.getuid", lambda: 1000)
        found = finding(settings, "users")
        assert (found.verdict, found.fix) == (Verdict.OK, "")
        assert "as the user that starts Keystone" in found.found

    def test_while_it_runs_root_is_told_what_was_decided_at_its_start(
        self, settings: AllSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.doctor.safety.os.getuid", lambda: 0)
        with take_over(settings.data_dir):
            note_users(settings, Together("for a reason", "mend it"))
            found = finding(settings, "users")
            assert found == Finding(
                "users", Verdict.WARNING, "everything runs as root: for a reason", "mend it"
            )
            (settings.run_dir / "users.json").write_text("[]")
            assert finding(settings, "users").verdict is Verdict.OK
            # One that an older Keystone runs has written nothing down.
            (settings.run_dir / "users.json").unlink()
            assert finding(settings, "users").verdict is Verdict.WARNING


def test_a_dashboard_without_a_name_of_its_own_is_told_once_an_app_has_a_domain(
    settings: AllSettings, runtime: Runtime[AllSettings]
) -> None:
    assert finding(settings, "dashboard name").verdict is Verdict.OK
    add_domain(runtime)
    found = finding(settings, "dashboard name")
    assert found.verdict is Verdict.IDLE
    assert "set KEYSTONE_PUBLIC_URL" in found.found
