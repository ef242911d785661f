"""The first user, whom `keystone up` makes."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from jobs.cli.up import FIRST_ADMIN, ensure_admin
from jobs.errors import ConfigurationError
from jobs.processes.runtime import Runtime
from jobs.reads.people import users
from jobs.records.users import check_password, find_user
from jobs.settings import AllSettings

Inside = Runtime[AllSettings]


def with_password(inside: Inside, password: str) -> Inside:
    """The same Keystone with another KEYSTONE_ADMIN_PASSWORD."""
    changed = inside.settings.model_copy(update={"admin_password": SecretStr(password)})
    return replace(inside, settings=changed)


def test_without_a_setting_a_password_is_made_and_given_once(inside: Inside) -> None:
    made = ensure_admin(inside)
    assert made is not None
    with inside.database.reading() as session:
        assert check_password(find_user(session, FIRST_ADMIN), made)
    assert ensure_admin(inside) is None


@pytest.mark.parametrize("password", ["password", "Admin-2026", "keystone1"])
def test_a_guessable_password_is_refused_with_the_name_of_its_setting(
    inside: Inside, password: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"^KEYSTONE_ADMIN_PASSWORD: is too easy"):
        ensure_admin(with_password(inside, password))
    with inside.database.reading() as session:
        assert users(session) == []


def test_a_guessable_password_is_ignored_once_there_are_users(inside: Inside) -> None:
    assert ensure_admin(with_password(inside, "correct horse battery")) is None
    assert ensure_admin(with_password(inside, "password")) is None
