"""`keystone audit`."""

import pytest

from jobs.processes.runtime import Runtime
from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor
from jobs.settings import AllSettings
from jobs.states import ActorKind
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]


@pytest.fixture(autouse=True)
def events(inside: Inside) -> None:
    """Three things that happened."""
    with inside.database.writing() as session:
        note(session, Tag.APP_CREATED, Actor(ActorKind.USER, "ada", "192.0.2.7"), "app:web")
        note(session, Tag.LOGIN_FAILED, Actor(ActorKind.STRANGER, "unknown"), "user:ada")
        note(session, Tag.APP_CHANGED, Actor(ActorKind.TOKEN, "ci"), "app:api")


def test_what_happened_is_shown_newest_first(keystone: Commands) -> None:
    shown = keystone("audit").stdout
    assert shown.index("app.changed") < shown.index("login.failed") < shown.index("app.created")
    assert "192.0.2.7" in shown


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        (("--actor", "user:ada"), ["app.created"]),
        (("--tag", "app"), ["app.changed", "app.created"]),
        (("--target", "app:api"), ["app.changed"]),
        (("--limit", "2"), ["app.changed", "login.failed"]),
        (("--since", "2000-01-01"), ["app.changed", "login.failed", "app.created"]),
        (("--since", "2999-01-01"), []),
    ],
)
def test_the_audit_trail_can_be_filtered(
    keystone: Commands, given: tuple[str, ...], tags: list[str]
) -> None:
    found = keystone("audit", *given, "--json").json["items"]
    assert [event["tag"] for event in found] == tags


def test_more_than_one_page_is_walked(keystone: Commands, inside: Inside) -> None:
    with inside.database.writing() as session:
        for _ in range(150):
            note(session, Tag.LOGOUT, Actor(ActorKind.USER, "ada"), "user:ada")
    found = keystone("audit", "--limit", "152", "--json").json["items"]
    assert [event["tag"] for event in found[149:]] == ["login.ended", "app.changed", "login.failed"]


def test_a_program_is_told_where_to_go_on(keystone: Commands) -> None:
    told = keystone("audit", "--limit", "2", "--json").json
    assert told["next"] == told["items"][-1]["id"]
    assert keystone("audit", "--json").json["next"] is None


def test_nothing_is_said_in_words(keystone: Commands) -> None:
    assert keystone("audit", "--actor", "user:eve").stdout == "Nothing like that is on record.\n"
