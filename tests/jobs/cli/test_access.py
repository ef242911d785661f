"""`keystone user` and `keystone token`."""

import pytest
from pydantic import SecretStr

from jobs.processes.runtime import Runtime
from jobs.reads.people import api_token_state, sessions_of
from jobs.records.logins import open_session
from jobs.records.tokens import find_api_token
from jobs.records.users import check_password, find_user
from jobs.rules.actors import Actor
from jobs.settings import AllSettings
from jobs.states import ActorKind, Role, TokenState
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
PASSWORD = "correct horse battery"


def knows(inside: Inside, name: str, password: str) -> bool:
    """Whether somebody could log in."""
    with inside.database.reading() as session:
        return check_password(find_user(session, name), SecretStr(password))


def state_of(inside: Inside, token: str) -> TokenState:
    """Say whether a token still opens anything."""
    with inside.database.reading() as session:
        row = find_api_token(session, token)
    assert row is not None
    return api_token_state(row)


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
    assert "too easy" in keystone("user", "set-password", "ada", stdin="ada-1234", code=2).stderr
    assert knows(inside, "ada", "another long one")
    keystone("user", "set-password", "bob", stdin=PASSWORD, code=3)


def test_no_option_takes_a_password(keystone: Commands) -> None:
    for command in ("add", "set-password"):
        assert "--password" not in keystone("user", command, "--help").stdout


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [
        ("Ada", PASSWORD, "name: "),
        ("ada", "short", "password: use at least 8"),
        ("ada", "password", "password: is too easy to guess"),
        ("lovelace", "Lovelace1815", "password: is too easy to guess"),
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


@pytest.fixture
def ada(keystone: Commands) -> dict[str, object]:
    """A viewer, as the list tells of her."""
    keystone("user", "add", "ada", "--role", "viewer", stdin=PASSWORD)
    return listed_user(keystone)


def listed_user(keystone: Commands) -> dict[str, object]:
    """Give the only user, as the list tells."""
    (found,) = keystone("user", "list", "--json").json["items"]
    return dict(found)


def test_a_program_is_told_of_the_user_it_added(keystone: Commands) -> None:
    added = keystone("user", "add", "ada", "--role", "deployer", "--json", stdin=PASSWORD)
    assert added.json == listed_user(keystone)
    assert PASSWORD not in added.stdout


@pytest.mark.parametrize(
    ("command", "given", "change"),
    [
        ("set-password", (), {}),
        ("set-role", ("--role", "admin"), {"role": "admin"}),
        ("disable", (), {"disabled": True}),
        ("enable", (), {}),
    ],
)
def test_a_program_is_told_of_the_user_as_changed(
    keystone: Commands,
    ada: dict[str, object],
    command: str,
    given: tuple[str, ...],
    change: dict[str, object],
) -> None:
    told = keystone("user", command, "ada", *given, "--json", stdin="another long one")
    assert told.json == ada | change == listed_user(keystone)


@pytest.mark.usefixtures("ada")
def test_a_program_is_told_who_is_logged_out_and_who_is_removed(
    keystone: Commands, inside: Inside
) -> None:
    log_in(inside, "ada")
    assert keystone("user", "log-out", "ada", "--json").json == {"logged_out": "ada"}
    assert not is_logged_in(inside, "ada")
    assert keystone("user", "remove", "ada", "--json").json == {"removed": "ada"}
    assert keystone("user", "list", "--json").json["items"] == []


def test_people_are_told_in_a_sentence(keystone: Commands) -> None:
    def told(*arguments: str) -> str:
        return keystone("user", *arguments, stdin=PASSWORD).stdout

    assert told("add", "ada", "--role", "viewer") == "ada may log in now, as viewer.\n"
    assert told("set-password", "ada") == (
        "The password of ada is changed; ada is logged out everywhere.\n"
    )
    assert told("set-role", "ada", "--role", "deployer") == "ada is deployer now.\n"
    assert told("disable", "ada") == "ada is disabled, and logged out everywhere.\n"
    assert told("enable", "ada") == "ada may log in again.\n"
    assert told("log-out", "ada") == "ada is logged out everywhere.\n"
    assert told("remove", "ada") == "ada is removed.\n"


def log_in(inside: Inside, name: str) -> None:
    """Open a session of a user, as from a browser elsewhere."""
    with inside.database.writing() as session:
        open_session(session, find_user(session, name), Actor(ActorKind.USER, name, "192.0.2.7"))


def is_logged_in(inside: Inside, name: str) -> bool:
    """Whether a user has a session."""
    with inside.database.reading() as session:
        return bool(sessions_of(session, find_user(session, name)))


def test_a_user_is_shut_out_at_once_and_let_in_again(keystone: Commands, inside: Inside) -> None:
    keystone("user", "add", "ada", "--role", "viewer", stdin=PASSWORD)
    log_in(inside, "ada")
    keystone("user", "disable", "ada")
    assert not is_logged_in(inside, "ada")
    assert not knows(inside, "ada", PASSWORD)
    assert "disabled" in keystone("user", "list").stdout
    keystone("user", "enable", "ada")
    assert knows(inside, "ada", PASSWORD)
    assert not is_logged_in(inside, "ada")
    keystone("user", "disable", "bob", code=3)


def test_a_role_can_be_changed(keystone: Commands) -> None:
    keystone("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    keystone("user", "add", "bob", "--role", "viewer", stdin=PASSWORD)
    keystone("user", "set-role", "bob", "--role", "admin")
    keystone("user", "set-role", "ada", "--role", "viewer")
    assert "last admin" in keystone("user", "set-role", "bob", "--role", "viewer", code=4).stderr
    assert "last admin" in keystone("user", "disable", "bob", code=4).stderr
    roles = {
        each["name"]: each["role"] for each in keystone("user", "list", "--json").json["items"]
    }
    assert roles == {"ada": "viewer", "bob": "admin"}


def test_sessions_are_listed_and_ended(keystone: Commands, inside: Inside) -> None:
    keystone("user", "add", "ada", "--role", "viewer", stdin=PASSWORD)
    assert keystone("user", "sessions", "ada").stdout == "ada is not logged in.\n"
    log_in(inside, "ada")
    assert "192.0.2.7" in keystone("user", "sessions", "ada").stdout
    (listed,) = keystone("user", "sessions", "ada", "--json").json["items"]
    assert listed["address"] == "192.0.2.7"
    keystone("user", "log-out", "ada")
    assert not is_logged_in(inside, "ada")


@pytest.mark.parametrize(("given", "days"), [((), 365), (("--expires", "90d"), 90)])
def test_a_token_ends_by_itself(keystone: Commands, given: tuple[str, ...], days: int) -> None:
    made = keystone("token", "create", "ci", "--role", "viewer", *given)
    assert f"ends in {days} days" in made.stderr
    (listed,) = keystone("token", "list", "--json").json["items"]
    assert listed["state"] == "active"
    assert listed["expires_at"] > listed["created_at"]


@pytest.mark.parametrize("expires", ["never", "0d", "99999d", "-1", "1y", ""])
def test_a_time_that_will_not_do_is_refused(keystone: Commands, expires: str) -> None:
    command = ("token", "create", "ci", "--role", "viewer", f"--expires={expires}")
    assert "expires: " in keystone(*command, code=2).stderr
    assert keystone("token", "list", "--json").json["items"] == []


def test_a_token_is_shown_once_and_alone_on_standard_output(
    keystone: Commands, inside: Inside
) -> None:
    made = keystone("token", "create", "ci", "--role", "deployer")
    token = made.stdout.strip()
    assert made.stdout == f"{token}\n"
    with inside.database.reading() as session:
        row = find_api_token(session, token)
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
    assert state_of(inside, token) is TokenState.REVOKED
    assert "revoked" in keystone("token", "list").stdout
    keystone("token", "revoke", "ci", code=3)


def test_a_program_is_told_of_the_token_it_revoked(keystone: Commands) -> None:
    for name in ("ci", "cd"):
        keystone("token", "create", name, "--role", "viewer")
    told = keystone("token", "revoke", "ci", "--json").json
    assert (told["name"], told["state"]) == ("ci", "revoked")
    assert told in keystone("token", "list", "--json").json["items"]
    assert keystone("token", "revoke", "cd").stdout == "cd is revoked.\n"


def test_a_role_that_does_not_exist_is_wrong_usage(keystone: Commands) -> None:
    keystone("token", "create", "ci", "--role", "emperor", code=2)
