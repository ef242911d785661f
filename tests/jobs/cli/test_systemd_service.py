"""The installation of the services, with a `systemctl` that writes down what it is told."""

from pathlib import Path

import pytest

from jobs.cli.systemd_service import Service, active_units, install, remove, stop
from jobs.cli.systemd_unit import ROUTER_SERVICE, SERVICE, unit_texts
from jobs.errors import ConfigurationError, ConflictError, NotFoundError, PlatformError
from jobs.processes.router_service import configuration_file
from jobs.processes.supervise import take_over
from jobs.settings import Settings
from jobs.system.privileges import Rights
from jobs.system.run_as import run_as
from tests.apart import NOBODY, only_root

pytestmark = only_root


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A systemd whose `systemctl` writes down what it is told."""
    for name in ("units", "running"):
        (tmp_path / name).mkdir()
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\n[ "$1" != show ] || exec cat {tmp_path}/active\necho "$*" >>{tmp_path}/told\n'
    )
    (tmp_path / "active").write_text("inactive\n")
    systemctl.chmod(0o755)
    return Service(tmp_path / "units", tmp_path / "running", str(systemctl))


def told(service: Service) -> list[str]:
    return Path(service.systemctl).with_name("told").read_text().splitlines()


def let_run(service: Service) -> None:
    """Have both units active from now on."""
    Path(service.systemctl).with_name("active").write_text("active\n")


class TestInstalling:
    def test_puts_the_units_in_their_place_and_starts_them(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        units = [service.unit(ROUTER_SERVICE), service.unit(SERVICE)]
        said = install(service, settings, tmp_path, {})
        assert said == [f"{unit} is installed, and started with the machine" for unit in units]
        assert [unit.read_text() for unit in units] == list(
            unit_texts(settings, tmp_path, {}).values()
        )
        assert {unit.stat().st_mode & 0o777 for unit in units} == {0o644}
        assert settings.data_dir.stat().st_mode & 0o777 == 0o700
        assert told(service) == [
            "daemon-reload",
            "enable keystone-router.service keystone.service",
            # The first start writes the router's files.
            "start --job-mode=ignore-dependencies keystone.service",
            "start keystone-router.service",
        ]
        assert sorted(service.units.iterdir()) == units

    def test_again_replaces_its_own(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        install(service, settings, tmp_path, {})
        install(service, settings, tmp_path, {"DOCKER_HOST": "unix:///other.sock"})
        assert "Environment=DOCKER_HOST=unix:///other.sock" in service.unit(SERVICE).read_text()

    def test_starts_the_router_first_where_it_knows_what_to_serve(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        settings.router_dir.mkdir(parents=True)
        configuration_file(settings).touch()
        install(service, settings, tmp_path, {})
        assert told(service)[2:] == ["start keystone-router.service", "restart keystone.service"]

    def test_leaves_a_router_of_ones_own_to_its_own_service(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        own = settings.model_copy(update={"router_socket": "/run/haproxy/admin.sock"})
        install(service, own, tmp_path, {})
        assert told(service)[1:] == ["enable keystone.service", "restart keystone.service"]

    def test_leaves_a_unit_of_somebody_elses_alone(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        service.unit(SERVICE).write_text("[Service]\nExecStart=/bin/true\n")
        with pytest.raises(ConflictError, match="was not made by Keystone"):
            install(service, settings, tmp_path, {})
        with pytest.raises(ConflictError, match="was not made by Keystone"):
            remove(service)
        assert "/bin/true" in service.unit(SERVICE).read_text()

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
        assert not service.unit(SERVICE).exists()

    def test_leaves_a_keystone_that_somebody_started_alone(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        with take_over(settings.data_dir):
            with pytest.raises(ConflictError, match="that systemd did not start uses"):
                install(service, settings, tmp_path, {})
            assert not list(service.units.iterdir())
            let_run(service)
            install(service, settings, tmp_path, {})

    def test_needs_root(self) -> None:
        def try_it() -> str:
            with pytest.raises(ConfigurationError, match="only root") as refused:
                Service(running=Path("/proc")).ensure_runs()
            return str(refused.value)

        assert "sudo" in run_as(Rights(NOBODY, NOBODY), try_it)


class TestRemoving:
    def test_stops_them_and_takes_the_units_away(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        install(service, settings, tmp_path, {})
        assert remove(service) == [service.unit(SERVICE), service.unit(ROUTER_SERVICE)]
        assert not list(service.units.iterdir())
        assert told(service)[-3:] == [
            "disable --now keystone.service",
            "disable --now keystone-router.service",
            "daemon-reload",
        ]
        assert settings.data_dir.exists()

    def test_what_is_not_there_is_told(self, service: Service) -> None:
        with pytest.raises(NotFoundError, match="there is no"):
            remove(service)

    def test_leaves_the_routers_service_if_it_is_told_to(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        install(service, settings, tmp_path, {})
        assert remove(service, with_router=False) == [service.unit(SERVICE)]
        assert list(service.units.iterdir()) == [service.unit(ROUTER_SERVICE)]
        assert remove(service) == [service.unit(ROUTER_SERVICE)]


class TestStopping:
    def test_is_done_by_systemd_where_systemd_runs_this_keystone(
        self, service: Service, settings: Settings, tmp_path: Path
    ) -> None:
        install(service, settings, tmp_path, {})
        assert stop(service, settings) == []
        let_run(service)
        assert active_units(service, settings) == [SERVICE, ROUTER_SERVICE]
        assert active_units(service, Settings(data_dir=tmp_path / "other")) == []
        assert stop(service, settings) == [SERVICE, ROUTER_SERVICE]
        assert told(service)[-2:] == ["stop keystone.service", "stop keystone-router.service"]

    def test_needs_root(self, service: Service, settings: Settings, tmp_path: Path) -> None:
        install(service, settings, tmp_path, {})
        let_run(service)
        for folder in (tmp_path, *tmp_path.parents[:-2]):
            folder.chmod(0o755)

        def try_it() -> str:
            with pytest.raises(ConfigurationError, match="only root can stop it") as refused:
                stop(service, settings)
            return str(refused.value)

        said = run_as(Rights(NOBODY, NOBODY), try_it)
        assert said.endswith("`systemctl stop keystone.service keystone-router.service`")

    def test_without_systemd_or_units_nothing_is_done(
        self, service: Service, settings: Settings
    ) -> None:
        let_run(service)
        assert stop(service, settings) == []
        service.running.rmdir()
        assert stop(service, settings) == []
