"""`keystone webhook-secret`, and how a token stands: what people and programs are told."""

from datetime import timedelta

import pytest

from jobs.processes.runtime import Runtime
from jobs.reads.secrets import webhook_secrets
from jobs.records.repositories import note_token_refused
from jobs.settings import AllSettings
from jobs.storage.models import Repository, TokenUse, now
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
GLOBAL = "verifies-an-organization"
WANTED = "the token lacks a permission; GitHub wants statuses=write"


@pytest.fixture(autouse=True)
def app(keystone: Commands) -> None:
    """The app web of the repository octo/web."""
    keystone("app", "add", "web", "--repository", "octo/web")


def verifying(inside: Inside) -> list[str]:
    with inside.database.reading() as session:
        found = webhook_secrets(session, 1, inside.vault)
    return [secret.get_secret_value() for secret in found]


@pytest.mark.parametrize("whose", ["web", "Octo/WEB"])
def test_another_secret_is_made_and_shown_once(
    keystone: Commands, inside: Inside, whose: str
) -> None:
    (old,) = verifying(inside)
    made = keystone("webhook-secret", "rotate", whose, "--json").json
    assert verifying(inside) == [made["secret"], old]
    assert made["url"].endswith("/webhooks/github")
    shown = keystone("webhook-secret", "show", whose, "--json")
    assert shown.json["previous_until"] == made["previous_until"]
    assert made["secret"] not in shown.stdout
    assert "older one until" in keystone("webhook-secret", "show", whose).stdout
    assert "Only the newest" in keystone("webhook-secret", "finish", whose).stdout
    assert verifying(inside) == [made["secret"]]
    assert "nothing to end" in keystone("webhook-secret", "finish", whose, code=4).stderr


def test_people_are_told_where_to_put_it(keystone: Commands, inside: Inside) -> None:
    told = keystone("webhook-secret", "rotate", "web", "--overlap-hours", "0").stdout
    assert "https://github.com/octo/web/settings/hooks" in told
    assert f"  Secret          {verifying(inside)[0]}" in told
    assert "Older ones verify nothing any more." in told


def test_programs_are_told_how_it_stands(keystone: Commands) -> None:
    stands = keystone("webhook-secret", "set", "web", "--json", stdin="sixteen letters!\n").json
    assert stands["previous_until"] is not None
    ended = keystone("webhook-secret", "finish", "web", "--json").json
    assert ended == stands | {"previous_until": None}
    assert keystone("webhook-secret", "show", "web", "--json").json == ended


def test_a_given_secret_comes_from_standard_input(keystone: Commands, inside: Inside) -> None:
    done = keystone("webhook-secret", "set", "web", stdin="sixteen letters!\n")
    assert verifying(inside)[0] == "sixteen letters!"
    assert "sixteen" not in done.stdout
    refused = keystone("webhook-secret", "set", "web", stdin="too short\n", code=2)
    assert "at least 16 characters" in refused.stderr
    assert "too short" not in refused.stderr


def test_a_repositorys_own_secrets_are_dropped_for_the_global_one(
    keystone: Commands, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = keystone("webhook-secret", "drop", "web", code=4)
    assert "set KEYSTONE_WEBHOOK_SECRET" in refused.stderr
    assert len(verifying(inside)) == 1
    monkeypatch.setenv("KEYSTONE_WEBHOOK_SECRET", GLOBAL)
    told = keystone("webhook-secret", "drop", "Octo/WEB").stdout
    assert told == "Only KEYSTONE_WEBHOOK_SECRET verifies deliveries of octo/web now.\n"
    assert verifying(inside) == []
    again = keystone("webhook-secret", "drop", "web", "--json")
    assert again.json == {"since": None, "previous_until": None}
    assert "KEYSTONE_WEBHOOK_SECRET" in keystone("webhook-secret", "show", "web").stdout
    made = keystone("webhook-secret", "rotate", "web", "--json").json
    assert (verifying(inside), made["previous_until"]) == ([made["secret"]], None)


def test_an_app_or_repository_that_does_not_exist_is_not_found(keystone: Commands) -> None:
    assert "octo/none" in keystone("webhook-secret", "rotate", "octo/none", code=3).stderr
    assert "keystone app list" in keystone("webhook-secret", "rotate", "none", code=3).stderr


def test_a_token_that_was_refused_shows_with_the_app_and_in_doctor(
    keystone: Commands, inside: Inside
) -> None:
    with inside.database.writing() as session:
        note_token_refused(session, 1, TokenUse.API, WANTED)
    assert WANTED in keystone("app", "show", "web").stdout
    assert WANTED in keystone("status", "web").stdout
    told = keystone("doctor", code=5).stdout
    assert f"octo/web: {WANTED}" in told
    assert "keystone app set APP --token-stdin" in told


def test_a_token_that_ends_soon_is_told_of_before(keystone: Commands, inside: Inside) -> None:
    with inside.database.writing() as session:
        session.get_one(Repository, 1).token_expires_at = now() + timedelta(days=13)
    assert "the token expires on" in keystone("app", "show", "web").stdout
    assert "octo/web: the token expires on" in keystone("doctor", code=5).stdout
