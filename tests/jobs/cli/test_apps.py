"""`keystone app`: the same fields as the API, from the fields themselves."""

import pytest

from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.views import AuditEventView
from jobs.rules.app_fields import AppChange
from jobs.settings import AllSettings
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]

TOKEN = "ghp_a-token-nobody-may-see"


def audit(inside: Inside) -> list[AuditEventView]:
    """Read what is on record, newest first."""
    with inside.database.reading() as session:
        return audit_page(session, AuditFilter()).items


def test_an_app_is_added_with_the_fields_that_were_given(keystone: Commands) -> None:
    added = keystone(
        *("app", "add", "web", "--repository", "octo/web", "--branch", "live"),
        *("--memory-mb", "64", "--cpus", "0.5", "--command", './web --say "a b"'),
        *("--skip-phrases", "not now", "--skip-phrases", "later", "--no-auto-deploy"),
        *("--labels", "team=blue", "--labels", "note=a=b", "--json"),
    ).json
    assert added["branch"] == "live"
    assert (added["memory_mb"], added["cpus"]) == (64, 0.5)
    assert added["command"] == ["./web", "--say", "a b"]
    assert added["skip_phrases"] == ["not now", "later"]
    assert added["auto_deploy"] is False
    assert added["labels"] == {"team": "blue", "note": "a=b"}
    assert added["container_port"] is None


def test_the_webhook_secret_is_shown_once(keystone: Commands) -> None:
    told = keystone("app", "add", "web", "--repository", "octo/web").stdout
    assert "https://github.com/octo/web/settings/hooks/new" in told
    assert "/webhooks/github" in told
    added = keystone("app", "add", "two", "--repository", "octo/two")
    assert added.stderr.startswith("Warning: GitHub cannot reach http://127.0.0.1:8000/webhooks")
    assert "set KEYSTONE_PUBLIC_URL" in keystone("app", "show", "two").stderr
    secret = told.partition("Secret")[2].split()[0]
    assert len(secret) >= 32
    again = keystone("app", "add", "web2", "--repository", "octo/web").stdout
    assert "has a webhook already" in again
    assert secret not in again + keystone("app", "show", "web", "--json").stdout


def test_every_field_that_the_api_takes_has_an_option(keystone: Commands) -> None:
    for command in ("add", "set"):
        told = keystone("app", command, "--help").stdout
        for name in AppChange.model_fields.keys() - {"token"}:
            assert f"--{name.replace('_', '-')}" in told
        assert "--token-stdin" in told
        assert "--token " not in told


def test_every_mistake_is_told_at_once_and_nothing_is_added(keystone: Commands) -> None:
    told = keystone(
        *("app", "add", "Web", "--repository", "octo", "--memory-mb", "much"),
        *("--health-path", "health"),
        code=2,
    ).stderr
    for field in ("name", "repository", "memory_mb", "health_path"):
        assert f"keystone: {field}: " in told
    assert keystone("app", "list", "--json").json == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [("--command", "it's", "command: no closing quotation"), ("--labels", "x", "NAME=VALUE")],
)
def test_what_cannot_be_taken_apart_is_refused(
    keystone: Commands, option: str, value: str, sentence: str
) -> None:
    refused = keystone("app", "add", "web", "--repository", "octo/web", option, value, code=2)
    assert sentence in refused.stderr


def test_a_token_comes_by_standard_input_and_is_never_shown(
    keystone: Commands, inside: Inside
) -> None:
    added = keystone(
        *("app", "add", "web", "--repository", "octo/web", "--token-stdin", "--json"),
        stdin=f"{TOKEN}\n",
    )
    assert added.json["token_set"] is True
    assert TOKEN not in added.stdout + added.stderr
    assert TOKEN not in str(audit(inside))
    stored = (inside.settings.data_dir / "keystone.db").read_bytes()
    assert TOKEN.encode() not in stored
    nothing = keystone("app", "set", "web", "--token-stdin", code=2)
    assert "nothing was given on standard input" in nothing.stderr


def test_apps_are_listed_and_shown(keystone: Commands) -> None:
    keystone("app", "add", "web", "--repository", "octo/web")
    keystone("app", "add", "api", "--repository", "octo/api")
    assert [item["name"] for item in keystone("app", "list", "--json").json["items"]] == [
        "api",
        "web",
    ]
    table = keystone("app", "list").stdout
    assert "octo/api (main)" in table
    assert "http://127.0.0.1:20000" in table
    facts = keystone("app", "show", "web").stdout
    assert "auto deploy       yes" in facts
    assert "[skip ci], [ci skip]" in facts


def test_only_what_was_given_is_changed(keystone: Commands, inside: Inside) -> None:
    keystone("app", "add", "web", "--repository", "octo/web", "--health-path", "/up")
    before = keystone("app", "show", "web", "--json").json
    changed = keystone("app", "set", "web", "--memory-mb", "128", "--json").json
    assert changed == before | {"memory_mb": 128}
    event = audit(inside)[0]
    assert (event.tag, event.target) == ("app.changed", "app:web")
    assert event.actor.startswith("cli:")


def test_an_empty_value_takes_a_setting_away(keystone: Commands) -> None:
    keystone(
        *("app", "add", "web", "--repository", "octo/web", "--health-path", "/up"),
        *("--command", "./web", "--cpus", "1"),
    )
    changed = keystone(
        *("app", "set", "web", "--health-path", "", "--command", "", "--cpus", ""),
        *("--skip-phrases", "", "--json"),
    ).json
    assert (changed["health_path"], changed["command"], changed["cpus"]) == (None, None, None)
    assert changed["skip_phrases"] == []


def test_a_change_without_anything_to_change_is_refused(keystone: Commands) -> None:
    keystone("app", "add", "web", "--repository", "octo/web")
    assert "nothing was given" in keystone("app", "set", "web", code=2).stderr


def test_removing_asks_and_without_a_terminal_wants_a_yes(keystone: Commands) -> None:
    keystone("app", "add", "web", "--repository", "octo/web")
    assert "say --yes" in keystone("app", "remove", "web", code=2).stderr
    keystone("app", "show", "web")
    keystone("app", "remove", "web", "--yes")
    assert "there is no app" in keystone("app", "show", "web", code=3).stderr


def test_a_program_that_removes_is_not_asked_and_told_what_is_gone(keystone: Commands) -> None:
    for name in ("web", "api"):
        keystone("app", "add", name, "--repository", f"octo/{name}")
    refused = keystone("app", "remove", "web", "--json", code=2)
    assert (refused.stdout, "--json never asks" in refused.stderr) == ("", True)
    keystone("app", "show", "web")
    keystone("app", "add", "site", "--repository", "octo/web")
    gone = keystone("app", "remove", "web", "--yes", "--json").json
    assert gone == {"removed": "web", "repository_removed": None, "notes": []}
    keystone("app", "show", "web", code=3)
    gone = keystone("app", "remove", "site", "--yes", "--json").json
    assert (gone["removed"], gone["repository_removed"]) == ("site", "octo/web")


def test_the_last_app_of_a_repository_takes_it_along_and_says_so(keystone: Commands) -> None:
    for name in ("web", "api"):
        keystone("app", "add", name, "--repository", "octo/web")
    assert keystone("app", "remove", "web", "--yes").stdout == "web is removed.\n"
    told = keystone("app", "remove", "api", "--yes").stdout.splitlines()
    assert told[0] == "api is removed."
    assert told[1] == "With octo/web go its token, its webhook secret and the copy of its source."
    assert "https://github.com/octo/web/settings/hooks" in told[2]


def test_a_token_that_stays_behind_with_its_server_is_told(keystone: Commands) -> None:
    arguments = ("app", "add", "web", "--repository", "octo/web", "--token-stdin")
    keystone(*arguments, stdin=TOKEN)
    elsewhere = ("app", "set", "web", "--git-url", "https://git.example/octo/web.git")
    told = keystone(*elsewhere).stdout.splitlines()
    assert told[0] == "web is changed."
    assert "its token was taken away; `keystone app set web --token-stdin` sets another" in told[1]
    keystone("app", "set", "web", "--token-stdin", stdin=TOKEN)
    back = keystone("app", "set", "web", "--git-url", "https://github.com/octo/web.git", "--json")
    assert "its token was taken away" in back.json["notes"][0]


@pytest.mark.parametrize("arguments", [("show",), ("set", "--branch", "x"), ("remove", "--yes")])
def test_an_app_that_is_not_there_is_not_found(
    keystone: Commands, arguments: tuple[str, ...]
) -> None:
    command, *rest = arguments
    assert "there is no app named 'gone'" in keystone("app", command, "gone", *rest, code=3).stderr


def test_a_name_that_is_taken_is_a_conflict(keystone: Commands) -> None:
    keystone("app", "add", "web", "--repository", "octo/web")
    taken = keystone("app", "add", "web", "--repository", "octo/other", code=4)
    assert "there is an app named web already" in taken.stderr


def test_what_others_wrote_cannot_play_tricks_on_the_terminal(
    keystone: Commands, inside: Inside
) -> None:
    keystone("app", "add", "web", "--repository", "octo/web")
    with inside.database.writing() as session:
        find_app(session, "web").branch = "x\x1b]0;owned\x07\x1b[31m[bold]y"
    table = keystone("app", "list").stdout
    assert "\x1b" not in table
    assert "\x07" not in table
    assert "[bold]y" in table
