"""Folders that only we can enter."""

import os
import tempfile
from pathlib import Path

import pytest

from jobs.errors import StorageError
from jobs.system.part_users import PartUser, PartUsers
from jobs.system.private_folder import ensure_private, runtime_dir
from tests.apart import only_root


def test_a_folder_is_made_closed_to_others(tmp_path: Path) -> None:
    made = ensure_private(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    assert ensure_private(made) == made


def test_a_folder_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(StorageError, match="chmod 700"):
        ensure_private(tmp_path)


def test_a_link_that_somebody_laid_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match="not a folder of ours"):
        ensure_private(link)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = Path("/usr")  # root's, which is somebody else to everybody but root
    if os.getuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir(mode=0o700)
        os.chown(theirs, 12345, 12345)
    with pytest.raises(StorageError, match="not a folder of ours"):
        ensure_private(theirs)


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        ensure_private(tmp_path / "file" / "folder")


def test_sockets_and_locks_lie_where_nobody_else_can_make_anything() -> None:
    found = runtime_dir()
    if os.getuid() == 0:
        assert found == Path("/run")
    assert found.stat().st_uid in {os.getuid(), 0}


def test_without_a_folder_of_its_own_a_user_has_the_temporary_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert runtime_dir() == Path(tempfile.gettempdir())


@only_root
class TestWhereThePartsAreUsersOfTheirOwn:
    USERS = PartUsers(*(PartUser(f"user {n}", n, n + 10) for n in (7001, 7002, 7003, 7004)))

    @pytest.fixture(autouse=True)
    def _users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("jobs.system.private_folder.family", lambda: self.USERS)

    @pytest.mark.parametrize("owner", [0, 7001, 7003])
    def test_their_folders_and_those_of_their_groups_are_ours(
        self, tmp_path: Path, owner: int
    ) -> None:
        os.chown(tmp_path, owner, 7012)
        tmp_path.chmod(0o750)
        assert ensure_private(tmp_path) == tmp_path

    def test_somebody_elses_are_not(self, tmp_path: Path) -> None:
        os.chown(tmp_path, 7005, 7012)
        with pytest.raises(StorageError, match="not a folder of ours"):
            ensure_private(tmp_path)

    @pytest.mark.parametrize(("group", "mode"), [(7015, 0o750), (7012, 0o751), (0, 0o710)])
    def test_nor_may_others_enter_them(self, tmp_path: Path, group: int, mode: int) -> None:
        os.chown(tmp_path, 0, group)
        tmp_path.chmod(mode)
        with pytest.raises(StorageError, match="open to other users"):
            ensure_private(tmp_path)
