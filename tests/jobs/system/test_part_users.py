"""The users that the parts run as."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.system.part_users import REDIS, ROUTER, WEB, WORK, PartUser, PartUsers, family, find_users

SCRIPT = Path(__file__).parents[3] / ".setup" / "machine.sh"


@pytest.fixture(autouse=True)
def _look_again() -> Iterator[None]:
    """Have each test look for itself."""
    find_users.cache_clear()
    yield
    find_users.cache_clear()


def entries(monkeypatch: pytest.MonkeyPatch, **uids: int) -> None:
    """Have the machine know these users, with names as Python can write them."""

    def find(name: str) -> pwd.struct_passwd:
        uid = uids[name.replace("-", "_")]
        return pwd.struct_passwd((name, "x", uid, uid + 1000, "", "/nonexistent", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwnam", find)


def test_the_set_up_makes_these_users() -> None:
    assert f"users='{WORK} {WEB} {REDIS} {ROUTER}'" in SCRIPT.read_text()


def test_they_are_found_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, keystone=1, keystone_web=2, keystone_redis=3, keystone_router=4)
    users = find_users()
    assert users is not None
    assert users.web == PartUser("keystone-web", 2, 1002)
    assert users.uids == {1, 2, 3, 4}
    assert users.gids == {1001, 1002, 1003, 1004}


def test_without_one_of_them_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, keystone=1, keystone_web=2, keystone_redis=3)
    assert find_users() is None


def test_root_by_another_name_is_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, keystone=1, keystone_web=0, keystone_redis=3, keystone_router=4)
    assert find_users() is None


@pytest.mark.parametrize(("uid", "is_one"), [(0, True), (2, True), (77, False)])
def test_only_root_and_they_trust_each_other(
    monkeypatch: pytest.MonkeyPatch, uid: int, *, is_one: bool
) -> None:
    entries(monkeypatch, keystone=1, keystone_web=2, keystone_redis=3, keystone_router=4)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert (family() is not None) == is_one
    assert isinstance(family(), PartUsers) == is_one
