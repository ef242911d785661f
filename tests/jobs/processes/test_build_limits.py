"""The limits of builds: put in force at the start, and told of by `keystone doctor`."""

import http.server
import os
import secrets
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.adapters.cgroups import ControlGroup
from jobs.adapters.docker.ping import api_version
from jobs.doctor.build_check import limits_of_builds
from jobs.errors import ConfigurationError
from jobs.processes.build_limits import bound_builds, build_bounds
from jobs.processes.configuration import read_settings
from jobs.rules.container_values import Limits
from jobs.rules.findings import Finding, Verdict
from jobs.settings import WorkerSettings

MIB = 1024 * 1024
IDENTITY = f"t{secrets.token_hex(4)}"
LIMITED = {"build_memory_mb": 512, "build_pids": 100, "build_cpus": 0.5}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make control groups")

Engine = Callable[[str], None]


class Ping(http.server.BaseHTTPRequestHandler):
    """What an engine answers to a ping."""

    version = ""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.version:
            self.send_header("Api-Version", self.version)
        self.end_headers()

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def engine_at(path: Path, version: str) -> Iterator[None]:
    handler = type("Versioned", (Ping,), {"version": version})
    with socketserver.UnixStreamServer(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(60)


@pytest.fixture
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """An engine of the version that the test names, as the one of this machine."""
    path = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with engine_at(path, request.param):
        yield


old = pytest.mark.parametrize("engine", ["1.41"], indirect=True)
new = pytest.mark.parametrize("engine", ["1.42"], indirect=True)


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    """The control group of this test's Keystone."""
    group = ControlGroup(f"keystone-{IDENTITY}")
    yield group
    group.remove()


def settings(tmp_path: Path, **changes: object) -> WorkerSettings:
    return WorkerSettings.model_validate({"data_dir": tmp_path, **LIMITED, **changes})


def examined(tmp_path: Path, **changes: object) -> Finding:
    return limits_of_builds(settings(tmp_path, **changes), IDENTITY)


class TestWhatIsWanted:
    def test_the_settings_are_the_limits_of_a_group_of_our_own(self, tmp_path: Path) -> None:
        bounds = build_bounds(settings(tmp_path), IDENTITY)
        assert bounds.limits == Limits(memory=512 * MIB, pids=100, cpus=0.5)
        assert (bounds.group, bounds.is_shared) == (f"keystone-{IDENTITY}", False)

    def test_an_operator_may_name_another_group(self, tmp_path: Path) -> None:
        bounds = build_bounds(settings(tmp_path, build_cgroup="/docker/buildkit/"), IDENTITY)
        assert (bounds.group, bounds.is_shared) == ("docker/buildkit", True)

    def test_zero_is_no_limit_and_without_any_there_is_no_group(self, tmp_path: Path) -> None:
        one = build_bounds(settings(tmp_path, build_pids=0), IDENTITY)
        assert one.limits == Limits(memory=512 * MIB, cpus=0.5)
        none = dict.fromkeys(LIMITED, 0)
        assert build_bounds(settings(tmp_path, **none), IDENTITY).group == ""

    @pytest.mark.parametrize("path", ["..", "a/../b", "/", "a b", ".hidden", "a//b"])
    def test_a_path_that_leads_elsewhere_is_refused(self, tmp_path: Path, path: str) -> None:
        environ = {"KEYSTONE_DATA_DIR": str(tmp_path), "KEYSTONE_BUILD_CGROUP": path}
        with pytest.raises(ConfigurationError, match="KEYSTONE_BUILD_CGROUP: must be a path below"):
            read_settings(WorkerSettings, environ, env_file=tmp_path / "none")

    def test_unset_they_leave_something_of_the_machine_for_others(self, tmp_path: Path) -> None:
        wanted = WorkerSettings(data_dir=tmp_path)
        assert wanted.build_memory_mb * MIB < os.sysconf("SC_PHYS_PAGES") * os.sysconf(
            "SC_PAGE_SIZE"
        )
        assert wanted.build_cpus < (os.cpu_count() or 1)
        assert wanted.build_pids == 4096


class TestAtTheStart:
    @new
    @needs_root
    @pytest.mark.usefixtures("engine")
    def test_they_are_in_force_and_change_with_the_settings(
        self, tmp_path: Path, group: ControlGroup
    ) -> None:
        bound_builds(settings(tmp_path), IDENTITY)
        assert group.limits() == Limits(memory=512 * MIB, pids=100, cpus=0.5)
        bound_builds(settings(tmp_path, build_pids=0), IDENTITY)
        assert group.limits() == Limits(memory=512 * MIB, cpus=0.5)

    @old
    @needs_root
    @pytest.mark.usefixtures("engine")
    def test_the_group_is_limited_before_an_old_engine_is_upgraded_to_one_that_uses_it(
        self, tmp_path: Path, group: ControlGroup
    ) -> None:
        bound_builds(settings(tmp_path), IDENTITY)
        assert group.limits() == Limits(memory=512 * MIB, pids=100, cpus=0.5)

    @old
    @needs_root
    @pytest.mark.usefixtures("engine")
    def test_a_group_of_everybodys_is_free_again_once_it_is_not_named(
        self, tmp_path: Path, group: ControlGroup
    ) -> None:
        bound_builds(settings(tmp_path, build_cgroup=group.path), IDENTITY)
        assert group.limits() == Limits(memory=512 * MIB, pids=100, cpus=0.5)
        bound_builds(settings(tmp_path, **dict.fromkeys(LIMITED, 0)), IDENTITY)
        assert group.limits() == Limits()

    @pytest.mark.parametrize("host", ["tcp://192.0.2.1:2376", "ssh://root@192.0.2.1"])
    def test_an_engine_elsewhere_is_left_alone(
        self, tmp_path: Path, group: ControlGroup, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", host)
        bound_builds(settings(tmp_path), IDENTITY)
        assert group.limits() is None
        assert api_version(os.environ) is None


class TestTheDoctor:
    def test_says_when_they_are_off(self, tmp_path: Path) -> None:
        found = examined(tmp_path, **dict.fromkeys(LIMITED, 0))
        assert (found.verdict, found.fix) == (Verdict.IDLE, "")

    def test_says_that_an_engine_elsewhere_is_out_of_reach(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
        found = examined(tmp_path)
        assert (found.verdict, found.fix) == (
            Verdict.WARNING,
            "run Keystone on the engine's machine",
        )

    @pytest.mark.parametrize("engine", ["", "nonsense"], indirect=True)
    @pytest.mark.usefixtures("engine")
    def test_knows_nothing_of_what_is_no_engine(self, tmp_path: Path) -> None:
        assert examined(tmp_path).verdict is Verdict.IDLE

    @old
    @pytest.mark.usefixtures("engine")
    def test_says_when_the_engine_cannot(self, tmp_path: Path) -> None:
        found = examined(tmp_path)
        assert found.verdict is Verdict.WARNING
        assert found.found.startswith("none: this engine takes no limits for a build")
        assert "KEYSTONE_BUILD_CGROUP=docker/buildkit" in found.fix
        assert "other people's builds" in found.fix

    @new
    @pytest.mark.usefixtures("engine")
    def test_says_when_none_are_in_force(self, tmp_path: Path) -> None:
        found = examined(tmp_path)
        assert found.verdict is Verdict.WARNING
        assert found.found == (
            "none in force; wanted are 512 MB of memory, 100 processes, 0.5 processors"
        )
        assert "as root" in found.fix
        assert limits_of_builds(settings(tmp_path), "").verdict is Verdict.IDLE

    @new
    @needs_root
    @pytest.mark.usefixtures("engine", "group")
    def test_says_what_is_in_force(self, tmp_path: Path) -> None:
        bound_builds(settings(tmp_path), IDENTITY)
        found = examined(tmp_path)
        assert (found.verdict, found.found) == (
            Verdict.OK,
            "512 MB of memory, 100 processes, 0.5 processors, for all builds together",
        )
        assert examined(tmp_path, build_pids=7).verdict is Verdict.WARNING

    @old
    @needs_root
    @pytest.mark.usefixtures("engine")
    def test_says_whose_builds_a_shared_group_holds(
        self, tmp_path: Path, group: ControlGroup
    ) -> None:
        shared = {"build_cgroup": group.path}
        bound_builds(settings(tmp_path, **shared), IDENTITY)
        found = examined(tmp_path, **shared)
        assert found.verdict is Verdict.OK
        assert found.found.endswith("for everybody's builds")
