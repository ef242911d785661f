"""Whose the things in the data directory are; as root, on a real file system."""

import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from jobs.errors import StorageError
from jobs.processes.data_ownership import hand_out, let_in, take_back
from jobs.settings import Settings
from jobs.storage.sqlite_files import sqlite_url
from jobs.storage.vault import ensure_key, make_key, write_keys
from jobs.system.part_users import PartUser, PartUsers
from tests.apart import only_root

pytestmark = only_root

WORK, WEB, REDIS, ROUTER = 7001, 7002, 7003, 7004
USERS = PartUsers(*(PartUser(f"user {n}", n, n) for n in (WORK, WEB, REDIS, ROUTER)))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data directory of root's, as Keystone made it when all of it was root."""
    for module in ("jobs.system.private_folder", "jobs.storage.vault"):
        monkeypatch.setattr(f"{module}.family", lambda: USERS)
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir(mode=0o700)
    with closing(sqlite3.connect(settings.data_dir / "keystone.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE things (number)")
    (settings.data_dir / "keystone.db").chmod(0o600)
    ensure_key(settings.data_dir)
    for folder in (settings.run_dir, settings.redis_dir, settings.logs_dir, settings.mirrors_dir):
        folder.mkdir(mode=0o700)
    (settings.mirrors_dir / "1.git" / "refs").mkdir(parents=True)
    (settings.mirrors_dir / "1.git" / "HEAD").write_text("ref: refs/heads/main")
    (settings.logs_dir / "1.log").write_text("a line\n")
    (settings.redis_dir / "dump").write_text("queue")
    return settings


def owner(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def everything(settings: Settings) -> dict[Path, tuple[int, int, int]]:
    return {path: owner(path) for path in [settings.data_dir, *settings.data_dir.rglob("*")]}


def test_each_part_is_given_what_it_needs_and_no_more(settings: Settings) -> None:
    hand_out(settings, USERS)
    data = settings.data_dir
    assert owner(data) == (0, WORK, 0o710)
    assert owner(settings.run_dir) == (0, WORK, 0o710)
    assert owner(settings.chroot_dir) == (0, 0, 0o700)
    assert owner(settings.docker_dir) == (0, WORK, 0o710)
    assert owner(settings.redis_dir) == (REDIS, REDIS, 0o700)
    assert owner(settings.redis_socket.parent) == (REDIS, WEB, 0o710)
    assert owner(settings.router_dir) == (WORK, WORK, 0o700)
    assert owner(settings.mirrors_dir) == (WORK, WORK, 0o700)
    assert owner(settings.logs_dir) == (WORK, WEB, 0o750)
    assert owner(data / "keystone.db") == (WORK, WEB, 0o660)
    assert owner(data / "secret.key") == (0, WEB, 0o640)
    assert owner(data / "migrate.lock") == (WORK, WEB, 0o660)


def test_what_was_made_before_is_handed_over_to_its_last_file(settings: Settings) -> None:
    hand_out(settings, USERS)
    for path in (settings.mirrors_dir / "1.git", settings.mirrors_dir / "1.git" / "refs"):
        assert owner(path)[:2] == (WORK, WORK)
    assert owner(settings.mirrors_dir / "1.git" / "HEAD")[:2] == (WORK, WORK)
    assert owner(settings.logs_dir / "1.log") == (WORK, WEB, 0o640)
    assert owner(settings.redis_dir / "dump")[:2] == (REDIS, REDIS)


def test_a_second_time_changes_nothing(settings: Settings) -> None:
    hand_out(settings, USERS)
    before = everything(settings)
    hand_out(settings, USERS)
    assert everything(settings) == before


def test_an_interrupted_hand_out_is_finished_the_next_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder at the top is handed over last: until then its tree is gone through again."""
    really = os.fchown

    def killed(opened: int, uid: int, gid: int) -> None:
        if Path(f"/proc/self/fd/{opened}").readlink() == settings.mirrors_dir:
            raise KeyboardInterrupt
        really(opened, uid, gid)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fchown", killed)
        with pytest.raises(KeyboardInterrupt):
            hand_out(settings, USERS)
    (settings.mirrors_dir / "1.git" / "late").touch()
    hand_out(settings, USERS)
    assert owner(settings.mirrors_dir / "1.git" / "late")[:2] == (WORK, WORK)


def test_no_link_is_followed_and_no_second_name_is_believed(
    settings: Settings, tmp_path: Path
) -> None:
    """Redis writes to its folder: it must not be given what a name in there leads to."""
    treasure = tmp_path / "shadow"
    treasure.write_text("root's own")
    treasure.chmod(0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    (settings.redis_dir / "link").symlink_to(treasure)
    (settings.redis_dir / "folder").symlink_to(tmp_path / "folder")
    (settings.redis_dir / "second name").hardlink_to(treasure)
    os.mkfifo(settings.redis_dir / "pipe")
    hand_out(settings, USERS)
    assert owner(treasure) == (0, 0, 0o600)
    assert owner(tmp_path / "folder") == (0, 0, 0o700)
    assert owner(settings.redis_dir / "dump")[0] == REDIS


@pytest.mark.parametrize("name", ["redis", "mirrors", "keystone.db"])
def test_a_link_in_the_place_of_ours_is_refused(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    ours = settings.data_dir / name
    elsewhere = ours.rename(tmp_path / "elsewhere")
    before = owner(elsewhere)
    ours.symlink_to(elsewhere)
    with pytest.raises(StorageError, match=f"{name} is a link"):
        hand_out(settings, USERS)
    take_back(settings, USERS)
    assert owner(elsewhere) == before


def test_a_database_elsewhere_is_handed_over_too(settings: Settings, tmp_path: Path) -> None:
    path = (settings.data_dir / "keystone.db").rename(tmp_path / "other.db")
    other = settings.model_copy(update={"database_url": sqlite_url(path)})
    hand_out(other, USERS)
    assert owner(path) == (WORK, WEB, 0o660)


@pytest.mark.parametrize(
    ("mode", "gid", "becomes"),
    [(0o700, 0, 0o710), (0o750, 0, 0o710), (0o710, WORK, 0o710), (0o755, 0, 0o755)],
)
def test_the_data_directory_is_opened_no_further_than_needed(
    tmp_path: Path, mode: int, gid: int, becomes: int
) -> None:
    os.chown(tmp_path, 0, gid)
    tmp_path.chmod(mode)
    let_in(tmp_path, USERS)
    assert owner(tmp_path)[2] == becomes
    assert owner(tmp_path)[1] == (gid if mode & 0o001 else WORK)


def test_a_directory_shared_with_another_group_stays_unchanged(tmp_path: Path) -> None:
    os.chown(tmp_path, 0, 7777)
    tmp_path.chmod(0o750)
    with pytest.raises(StorageError, match="shared with a group"):
        let_in(tmp_path, USERS)
    assert owner(tmp_path) == (0, 7777, 0o750)


def test_folders_can_be_taken_back_by_root_and_handed_out_again(
    settings: Settings,
) -> None:
    hand_out(settings, USERS)
    (settings.docker_dir / "config.json").write_text("a login")
    take_back(settings, USERS)
    for folder in (settings.redis_dir, settings.router_dir, settings.mirrors_dir):
        assert owner(folder) == (0, 0, 0o700)
    # Root reads its logins where they are.
    assert not settings.docker_dir.exists()
    (settings.mirrors_dir / "made by root").touch()
    hand_out(settings, USERS)
    assert owner(settings.mirrors_dir / "made by root")[:2] == (WORK, WORK)


def test_nothing_was_ever_handed_out_and_nothing_is_taken_back(settings: Settings) -> None:
    before = everything(settings)
    take_back(settings, USERS)
    assert everything(settings) == before


def test_a_key_that_root_replaces_can_be_read_by_those_who_could_before(
    settings: Settings,
) -> None:
    key = settings.data_dir / "secret.key"
    write_keys(key, [make_key()])
    assert owner(key) == (0, 0, 0o600)
    hand_out(settings, USERS)
    write_keys(key, [make_key()])
    assert owner(key) == (0, WEB, 0o640)


def test_files_that_root_makes_beside_the_database_are_its_owners(settings: Settings) -> None:
    hand_out(settings, USERS)
    database = settings.data_dir / "keystone.db"
    code = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); "
        "database.execute('INSERT INTO things VALUES (1)'); database.commit(); input()"
    )
    command = ["python3", "-c", code, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
        try:
            beside = [database.with_name(f"keystone.db-{end}") for end in ("wal", "shm")]
            while not all(path.exists() for path in beside):
                assert writer.poll() is None
            assert {owner(path) for path in beside} == {(WORK, WEB, 0o660)}
        finally:
            writer.communicate(b"\n", timeout=60)
