"""Deciding whether the parts can run as users of their own."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.processes import separation, separation_checks
from jobs.processes.separation import Apart, Together, judge, note_users, noted_users, separate
from jobs.settings import Settings
from jobs.system.part_users import PartUser, PartUsers, find_users
from jobs.system.privileges import CAP_NET_BIND_SERVICE, Rights
from jobs.system.run_as import run_as
from tests.apart import only_root

USERS = PartUsers(*(PartUser(f"user {n}", n, n + 1000) for n in (7001, 7002, 7003, 7004)))
NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:1"}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that everybody may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="keystone-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a Keystone that is in nobody's way."""
    return Settings(data_dir=tmp_path / "data", redis_url="redis://127.0.0.1:1")


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the users there, with numbers that nobody has."""
    for module in ("processes.separation", "system.part_users"):
        monkeypatch.setattr(f"jobs.{module}.find_users", lambda: USERS)


@pytest.fixture
def within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the program be where everybody can read it."""
    monkeypatch.setattr(separation_checks, "program_files", lambda: [Path("/usr/bin/env")])


def reason(settings: Settings, environ: dict[str, str] | None = None) -> str:
    found = judge(settings, NO_ENGINE if environ is None else environ)
    assert isinstance(found, Together), found
    assert found.fix or not found.reason
    return found.reason


def test_a_user_who_is_not_root_runs_all_parts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert judge(settings, NO_ENGINE) == Together()


@only_root
class TestRoot:
    def test_without_the_users_is_told_how_to_make_them(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(separation, "find_users", lambda: None)
        found = judge(settings, NO_ENGINE)
        assert isinstance(found, Together)
        assert "users" in found.reason
        assert "make setup" in found.fix

    @pytest.mark.usefixtures("users", "within_reach")
    def test_gives_each_part_its_rights(self, settings: Settings) -> None:
        found = judge(settings, NO_ENGINE)
        assert isinstance(found, Apart)
        assert found.rights["web"] == Rights(7002, 8002, (8001,))
        assert found.rights["redis"] == Rights(7003, 8003, (8001,))
        assert found.rights["worker"] == found.rights["watcher"] == Rights(7001, 8002, (8001,))
        assert found.rights["router"].uid == 0
        assert {told["HOME"] for told in found.told.values()} == {"/nonexistent"}
        assert "DOCKER_CONFIG" in found.told["worker"]
        assert "DOCKER_CONFIG" not in found.told["web"]

    @pytest.mark.usefixtures("users", "within_reach")
    def test_lets_the_web_process_listen_on_a_port_of_roots(self, settings: Settings) -> None:
        found = judge(settings.model_copy(update={"port": 80}), NO_ENGINE)
        assert isinstance(found, Apart)
        assert found.rights["web"].capabilities == (CAP_NET_BIND_SERVICE,)
        assert found.rights["worker"].capabilities == ()

    @pytest.mark.usefixtures("users", "within_reach")
    def test_keeps_all_together_where_a_folder_on_the_way_is_closed(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        tmp_path.chmod(0o700)
        assert reason(settings) == f"the user user 7002 cannot enter {tmp_path}"

    @pytest.mark.usefixtures("users", "within_reach")
    def test_keeps_all_together_if_a_user_cannot_read_the_program(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = tmp_path / "module.py"
        closed.touch(mode=0o600)
        monkeypatch.setattr(separation_checks, "program_files", lambda: [closed])
        assert reason(settings) == f"the user user 7002 cannot read {closed}"

    @pytest.mark.usefixtures("users", "within_reach")
    def test_looks_at_all_that_a_part_consists_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        found = {str(path) for path in separation_checks.program_files()}
        assert separation_checks.__file__ in found
        for end in ("uvicorn/__init__.py", "receiver/app.py", "templates/base.html", "docker.py"):
            assert any(path.endswith(end) for path in found) == (end != "docker.py"), end
        assert any(".so" in path for path in found)
        assert not any(path.endswith(".pyc") for path in found)

    @pytest.mark.usefixtures("users", "within_reach")
    def test_keeps_all_together_if_the_workers_cannot_use_the_engine(
        self, settings: Settings, engine: Path
    ) -> None:
        engine.chmod(0o600)
        told = reason(settings, {"DOCKER_HOST": f"unix://{engine}"})
        assert told == f"the user user 7001 cannot use the socket {engine}"

    @pytest.mark.usefixtures("users", "within_reach")
    def test_puts_the_workers_into_the_group_of_the_engine(
        self, settings: Settings, engine: Path
    ) -> None:
        os.chown(engine, 0, 9999)
        engine.chmod(0o660)
        found = judge(settings, {"DOCKER_HOST": f"unix://{engine}"})
        assert isinstance(found, Apart)
        assert found.rights["worker"].groups == (8001, 9999)
        assert 9999 not in {*found.rights["web"].groups, *found.rights["redis"].groups}

    @pytest.mark.usefixtures("users", "within_reach")
    def test_an_engine_that_is_down_is_waited_for(self, settings: Settings, tmp_path: Path) -> None:
        found = judge(settings, {"DOCKER_HOST": f"unix://{tmp_path}/not-there.sock"})
        assert isinstance(found, Apart)

    @pytest.mark.usefixtures("users", "within_reach")
    @pytest.mark.parametrize("setting", ["router_socket", "redis_url"])
    def test_keeps_all_together_if_a_user_cannot_use_a_given_socket(
        self, settings: Settings, engine: Path, setting: str
    ) -> None:
        engine.chmod(0o600)
        value = str(engine) if setting == "router_socket" else f"unix://{engine}"
        told = reason(settings.model_copy(update={setting: value}))
        assert told.endswith(f"cannot use the socket {engine}")

    @pytest.mark.usefixtures("users", "within_reach")
    def test_keeps_all_together_if_the_data_directory_cannot_be_handed_out(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.system.private_folder.family", lambda: USERS)
        settings.data_dir.mkdir(mode=0o700)
        settings.run_dir.mkdir(mode=0o700)
        (tmp_path / "elsewhere").mkdir()
        settings.mirrors_dir.symlink_to(tmp_path / "elsewhere")
        found = separate(settings, NO_ENGINE)
        assert isinstance(found, Together)
        assert "mirrors" in found.reason
        assert settings.run_dir.stat().st_uid == 0
        assert settings.redis_dir.stat().st_uid == 0

    @pytest.mark.usefixtures("users", "within_reach")
    def test_hands_out_the_data_directory(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.system.private_folder.family", lambda: USERS)
        settings.data_dir.mkdir(mode=0o700)
        (settings.data_dir / "keystone.db").touch(mode=0o600)
        assert isinstance(separate(settings, NO_ENGINE), Apart)
        assert settings.mirrors_dir.stat().st_uid == 7001
        note_users(settings, Together("for a reason", "mend it"))
        assert noted_users(settings) == Together("for a reason", "mend it")

    @pytest.mark.usefixtures("users", "within_reach")
    def test_decides_without_changing_anything(self, settings: Settings, tmp_path: Path) -> None:
        before = {path: path.lstat() for path in tmp_path.rglob("*")}
        judge(settings, NO_ENGINE)
        assert {path: path.lstat() for path in tmp_path.rglob("*")} == before


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    """A socket that somebody listens on."""
    path = tmp_path / "engine.sock"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


@only_root
def test_the_users_of_this_machine_can_be_become() -> None:
    """The set-up has made them; without them the acceptance tests would try nothing."""
    users = find_users()
    assert users is not None, "run `make setup`"
    for user in users:
        assert run_as(Rights(user.uid, user.gid), lambda: str(os.getuid())) == str(user.uid)
