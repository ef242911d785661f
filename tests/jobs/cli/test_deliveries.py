"""`keystone deliveries`."""

from dataclasses import replace

import pytest

from jobs.processes.runtime import Runtime
from jobs.reads.deliveries import DeliveryFilter, delivery_page
from jobs.records.deliveries import Envelope, accept_push, write_down
from jobs.records.pushes import judge
from jobs.records.refusals import Refused, keep_refusals
from jobs.settings import AllSettings
from jobs.states import DeliveryOutcome, Refusal
from jobs.storage.models import now
from tests.jobs.cli.commands import Commands
from tests.jobs.pushes import PUSH

Inside = Runtime[AllSettings]


def ping(inside: Inside, *, times: int = 1) -> None:
    """Have GitHub try the webhook out."""
    with inside.database.writing() as session:
        for number in range(times):
            envelope = Envelope(f"ping-{number}", "ping", "", None)
            write_down(session, envelope, DeliveryOutcome.PONG, "pong")


@pytest.fixture(autouse=True)
def deliveries(keystone: Commands, inside: Inside) -> None:
    """A ping, a push that is deployed, and one of another branch."""
    keystone("app", "add", "web", "--repository", "octo/web")
    ping(inside)
    other = replace(PUSH, ref="refs/heads/other", commit_sha="c" * 40, sender="ada")
    with inside.database.writing() as session:
        for guid, push in (("one", PUSH), ("two", other)):
            accept_push(session, Envelope(guid, "push", guid, 1), judge(session, push))


def test_what_arrived_is_shown_newest_first(keystone: Commands) -> None:
    lines = keystone("deliveries").stdout.splitlines()
    assert [line.split()[2:4] for line in lines[1:]] == [
        ["ignored", "push"],
        ["queued", "push"],
        ["pong", "ping"],
    ]
    ((deployment,),) = [
        view["deployments"]
        for view in keystone("deliveries", "--outcome", "queued", "--json").json["items"]
    ]
    shown = ("octo/web", "refs/heads/main", "bbbbbbbb", "octocat", str(deployment))
    assert lines[2].split()[4:9] == list(shown)


def test_programs_get_what_the_api_would_send(keystone: Commands, inside: Inside) -> None:
    with inside.database.reading() as session:
        page = delivery_page(session, DeliveryFilter())
    assert len(page.items) == 3
    assert keystone("deliveries", "--json").json == page.model_dump(mode="json")


@pytest.mark.parametrize(
    ("given", "guids"),
    [
        (("--repository", "Octo/Web"), ["two", "one"]),
        (("--repository", "octo/none"), []),
        (("--outcome", "queued"), ["one"]),
        (("--event", "ping"), ["ping-0"]),
        (("--text", "other"), ["two"]),
        (("--text", "bbbb"), ["one"]),
        (("--limit", "2"), ["two", "one"]),
        (("--event", "push", "--text", "octocat"), ["one"]),
    ],
)
def test_deliveries_can_be_filtered(
    keystone: Commands, given: tuple[str, ...], guids: list[str]
) -> None:
    found = keystone("deliveries", *given, "--json").json["items"]
    assert [delivery["guid"] for delivery in found] == guids


def test_more_than_one_page_is_walked_and_where_to_go_on_is_told(
    keystone: Commands, inside: Inside
) -> None:
    ping(inside, times=150)
    told = keystone("deliveries", "--limit", "152", "--json").json
    assert [view["guid"] for view in told["items"][149:]] == ["ping-0", "two", "one"]
    assert told["next"] == told["items"][-1]["id"]
    assert keystone("deliveries", "--limit", "153", "--json").json["next"] is None


def test_nothing_is_said_in_words(keystone: Commands) -> None:
    assert keystone("deliveries", "--event", "fork").stdout == "Nothing like that has arrived.\n"


def test_an_outcome_that_does_not_exist_is_wrong_usage(keystone: Commands) -> None:
    keystone("deliveries", "--outcome", "lost", code=2)


def test_what_others_wrote_cannot_play_tricks_on_the_terminal(
    keystone: Commands, inside: Inside
) -> None:
    with inside.database.writing() as session:
        envelope = Envelope("bad", "push", "", None)
        write_down(session, envelope, DeliveryOutcome.IGNORED, "x\x1b]0;owned\x07[bold]y")
    table = keystone("deliveries").stdout
    assert "\x1b" not in table
    assert "[bold]y" in table


def test_what_was_refused_is_shown_with_the_reason(keystone: Commands, inside: Inside) -> None:
    assert keystone("deliveries", "--refused").stdout.strip() == "Nothing was refused."
    moment = now()
    wrong = Refused("octo/web", None, "140.82.112.1", Refusal.WRONG_SIGNATURE, 3, moment, moment)
    several = replace(wrong, claimed="eve/none", address="")
    with inside.database.writing() as session:
        keep_refusals(session, [several, wrong])
    first, second = keystone("deliveries", "--refused").stdout.splitlines()[1:]
    assert first.split()[4:] == [
        "3",
        "octo/web",
        "140.82.112.1",
        "signed",
        "with",
        "another",
        "secret",
    ]
    assert "eve/none" in second
    assert "several addresses" in second
    items = keystone("deliveries", "--refused", "--json").json["items"]
    assert [(item["repository"], item["reason"]) for item in items] == [
        ("octo/web", "wrong_signature"),
        (None, "unknown_repository"),
    ]
