"""`keystone user` and `keystone token`."""

import pytest
from pydantic import SecretStr

from jobs.records.access import check_password, find_token, find_user
from jobs.runtime import Runtime
from jobs.settings import AllSettings
from jobs.states import Role
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
PASSWORD = "correct horse battery"


def knows(inside: Inside, name: str, password: str) -> bool:
    """Whether somebody could log in."""
    with inside.database.reading() as session:
        return check_password(find_user(session, name), SecretStr(password))


def test_a_user_is_added_with_a_password_from_standard_input(
    keystone: Commands, inside: Inside
) -> None:
    added = keystone("user", "add", "ada", "--role", "deployer", stdin=f"{PASSWORD}\n")
    assert PASSWORD not in added.stdout + added.stderr
    assert knows(inside, "ada", PASSWORD)
    (listed,) = keystone("user", "list", "--json").json["items"]
    assert (listed["name"], listed["role"], listed["disabled"]) == ("ada", "deployer", False)
    assert "ada" in keystone("user", "list").stdout


def test_a_password_is_changed(keystone: Commands, inside: Inside) -> None:
    keystone("user", "add", "ada", "--role", "viewer", stdin=PASSWORD)
    keystone("user", "set-password", "ada", stdin="another long one\n")
    assert knows(inside, "ada", "another long one")
    assert not knows(inside, "ada", PASSWORD)
    keystone("user", "set-password", "bob", stdin=PASSWORD, code=3)


def test_no_option_takes_a_password(keystone: Commands) -> None:
    for command in ("add", "set-password"):
        assert "--password" not in keystone("user", command, "--help").stdout


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [
        ("Ada", PASSWORD, "name: "),
        ("ada", "short", "password: use at least 8"),
        ("ada", "", "nothing was given"),
    ],
)
def test_a_user_that_will_not_do_is_refused(
    keystone: Commands, name: str, password: str, sentence: str
) -> None:
    refused = keystone("user", "add", name, "--role", "viewer", stdin=password, code=2)
    assert sentence in refused.stderr
    assert keystone("user", "list").stdout == "There are no users yet.\n"


def test_the_last_admin_stays(keystone: Commands) -> None:
    keystone("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    keystone("user", "add", "bob", "--role", "viewer", stdin=PASSWORD)
    keystone("user", "add", "bob", "--role", "viewer", stdin=PASSWORD, code=4)
    keystone("user", "remove", "bob")
    assert "last admin" in keystone("user", "remove", "ada", code=4).stderr
    keystone("user", "remove", "bob", code=3)


def test_a_token_is_shown_once_and_alone_on_standard_output(
    keystone: Commands, inside: Inside
) -> None:
    made = keystone("token", "create", "ci", "--role", "deployer")
    token = made.stdout.strip()
    assert made.stdout == f"{token}\n"
    with inside.database.reading() as session:
        row = find_token(session, token)
    assert row is not None
    assert (row.name, row.role) == ("ci", Role.DEPLOYER)
    assert (
        token not in keystone("token", "list").stdout + keystone("token", "list", "--json").stdout
    )


def test_a_program_gets_the_token_as_json(keystone: Commands) -> None:
    made = keystone("token", "create", "ci", "--role", "admin", "--json").json
    assert list(made) == ["token"]
    assert made["token"].startswith("ks_")


def test_a_revoked_token_is_worthless(keystone: Commands, inside: Inside) -> None:
    token = keystone("token", "create", "ci", "--role", "viewer", "--json").json["token"]
    keystone("token", "create", "ci", "--role", "viewer", code=4)
    keystone("token", "revoke", "ci")
    with inside.database.reading() as session:
        assert find_token(session, token) is None
    assert "revoked" in keystone("token", "list").stdout
    keystone("token", "revoke", "ci", code=3)


def test_a_role_that_does_not_exist_is_wrong_usage(keystone: Commands) -> None:
    keystone("token", "create", "ci", "--role", "emperor", code=2)
