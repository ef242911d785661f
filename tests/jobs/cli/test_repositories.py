"""`keystone repository`: what there is, which of GitHub's each one is, and what is left over."""

import pytest
from sqlmodel import select

from jobs.processes.runtime import Runtime
from jobs.records.deliveries import Envelope, write_down
from jobs.settings import AllSettings
from jobs.states import DeliveryOutcome
from jobs.storage.models import App
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]

TOKEN = "ghp_a-token-nobody-may-see"
WEB_ID = 186853002


@pytest.fixture(autouse=True)
def web(keystone: Commands) -> None:
    """The repository octo/web, with an app and a token."""
    arguments = ("app", "add", "web", "--repository", "octo/web", "--token-stdin")
    keystone(*arguments, stdin=TOKEN)


def leave_behind(inside: Inside) -> None:
    """Remove the app as an earlier version did."""
    with inside.database.writing() as session:
        session.delete(session.exec(select(App)).one())


def line_of(told: str, name: str) -> list[str]:
    return next(line for line in told.splitlines() if line.startswith(name)).split()


def test_repositories_are_listed_with_their_details(keystone: Commands, inside: Inside) -> None:
    told = keystone("repository", "list").stdout
    assert line_of(told, "octo/web") == [
        *("octo/web", "web", "https://github.com/octo/web.git", "set", "not", "known", "never"),
    ]
    keystone("repository", "set", "octo/web", "--github-id", str(WEB_ID))
    with inside.database.writing() as session:
        write_down(session, Envelope("g", "ping", "b" * 64, 1), DeliveryOutcome.PONG, "")
    told = keystone("repository", "list").stdout
    assert f"{WEB_ID} (by an operator)" in told
    assert "never" not in told
    (row,) = keystone("repository", "list", "--json").json["items"]
    assert (row["full_name"], row["apps"], row["token_set"]) == ("octo/web", ["web"], True)
    assert (row["github_id"], row["identity_from"]) == (WEB_ID, "operator")
    assert TOKEN not in f"{told}{row}"


def test_an_id_is_given_and_forgotten(keystone: Commands) -> None:
    told = keystone("repository", "set", "Octo/Web", "--github-id", str(WEB_ID)).stdout
    assert told == f"GitHub's id of octo/web is {WEB_ID}.\n"
    forgotten = keystone("repository", "set", "octo/web", "--forget-github-id", "--json").json
    assert (forgotten["github_id"], forgotten["identity_from"]) == (None, None)
    audit = keystone("audit", "--tag", "repository.identified").stdout
    assert audit.count("repository.identified") == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("set", "octo/web"), 2),
        (("set", "octo/web", "--github-id", "7", "--forget-github-id"), 2),
        (("set", "octo/web", "--github-id", "0"), 2),
        (("set", "octo/unknown", "--github-id", "7"), 3),
        (("remove", "octo/unknown", "--yes"), 3),
        (("remove", "octo/web"), 2),
        (("remove", "octo/web", "--json"), 2),
        (("remove", "octo/web", "--yes"), 4),
    ],
)
def test_what_does_not_fit_is_refused(
    keystone: Commands, arguments: tuple[str, ...], code: int
) -> None:
    assert keystone("repository", *arguments, code=code).stderr


def test_an_id_that_another_one_has_is_refused(keystone: Commands) -> None:
    keystone("app", "add", "api", "--repository", "octo/api")
    keystone("repository", "set", "octo/web", "--github-id", "7")
    refused = keystone("repository", "set", "octo/api", "--github-id", "7", code=4)
    assert "7 is the id of octo/web" in refused.stderr


def test_repositories_left_by_earlier_versions_are_removed(
    keystone: Commands, inside: Inside
) -> None:
    leave_behind(inside)
    assert line_of(keystone("repository", "list").stdout, "octo/web")[1] == "none"
    told = keystone("repository", "remove", "octo/web", "--yes").stdout.splitlines()
    assert told[0] == "octo/web is removed."
    assert "https://github.com/octo/web/settings/hooks" in told[2]
    assert keystone("repository", "list").stdout.startswith("There are no repositories yet")


def test_a_program_is_told_what_is_gone(keystone: Commands, inside: Inside) -> None:
    leave_behind(inside)
    gone = keystone("repository", "remove", "octo/web", "--yes", "--json").json
    assert (gone["removed"], gone["repository_removed"]) == ("octo/web", "octo/web")
