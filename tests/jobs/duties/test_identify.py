"""GitHub says which repository one is: it is asked at first, every day, and when in doubt."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.duties.identify import identify_next
from jobs.errors import ConflictError, GitHubError, GitHubTokenError
from jobs.records.audit import Tag
from jobs.records.repositories import set_repository_token
from jobs.records.repository_identity import (
    CHECK_EVERY,
    NOT_SOONER,
    followed,
    note_claim,
    set_github_id,
    take_turn,
)
from jobs.settings import WorkerSettings
from jobs.states import IdentitySource
from jobs.storage.models import App, AuditEvent, Repository, RepositorySecret, now
from tests.jobs.bench import TESTER, Bench

WEB, OTHER = 186853002, 4242
SLACK = timedelta(minutes=5)


@pytest.fixture
def web(bench: Bench) -> App:
    """An app whose repository has a token, and which GitHub knows."""
    bench.world.forge.known["octo/web"] = WEB
    return bench.app(token="ghp_own")


def row_of(bench: Bench, number: int = 1) -> Repository:
    with bench.reading() as session:
        return session.get_one(Repository, number)


def set_row(bench: Bench, number: int = 1, **columns: object) -> None:
    with bench.writing() as session:
        for name, value in columns.items():
            setattr(session.get_one(Repository, number), name, value)


def identify_all(bench: Bench) -> int:
    """Ask about every repository that is due, and give how many those were."""
    count = 0
    while identify_next(bench.runtime, bench.world.forge):
        count += 1
    return count


def ask(bench: Bench) -> Repository:
    """Have the time come to ask about the first repository, and give what is known then."""
    set_row(bench, identity_due_at=None, identity_paused_until=None)
    assert identify_all(bench) >= 1
    return row_of(bench)


def asked(bench: Bench) -> int:
    return len(bench.world.calls("identify"))


def events(bench: Bench, tag: Tag) -> list[AuditEvent]:
    with bench.reading() as session:
        return list(session.exec(select(AuditEvent).where(AuditEvent.tag == tag)).all())


def is_close(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs(moment - expected) < SLACK


# --- Learning --------------------------------------------------------------------------------


def test_a_new_repository_is_asked_about_at_once(bench: Bench, web: App) -> None:
    assert identify_all(bench) == 1
    row = row_of(bench)
    assert (row.github_id, row.identity_from) == (WEB, IdentitySource.GITHUB)
    assert is_close(row.identity_checked_at, now())
    assert is_close(row.identity_due_at, now() + CHECK_EVERY)
    (event,) = events(bench, Tag.REPOSITORY_IDENTIFIED)
    assert (event.actor, event.target) == ("keystone:keystone", "repository:1")
    assert event.details == {"before": None, "after": WEB}
    assert bench.world.forge.tokens == ["ghp_own"]
    assert identify_all(bench) == 0


def test_github_is_asked_every_day_by_the_repositorys_id(bench: Bench, web: App) -> None:
    ask(bench)
    bench.world.forge.known = {"octo/web": OTHER, "octo/site": WEB}
    row = ask(bench)
    assert (row.github_id, row.full_name, row.name_key) == (WEB, "octo/site", "octo/site")
    assert len(events(bench, Tag.REPOSITORY_IDENTIFIED)) == 1


def test_a_rename_is_on_record_and_the_address_follows(bench: Bench, web: App) -> None:
    ask(bench)
    bench.world.forge.known = {"New/Home": WEB}
    row = ask(bench)
    assert row.git_url == "https://github.com/New/Home.git"
    (renamed,) = events(bench, Tag.REPOSITORY_RENAMED)
    assert renamed.actor == "keystone:keystone"
    assert renamed.details == {"before": "octo/web", "after": "New/Home"}
    (moved,) = events(bench, Tag.REPOSITORY_MOVED)
    assert moved.details == {
        "before": "https://github.com/octo/web.git",
        "after": "https://github.com/New/Home.git",
    }


def test_an_earlier_name_leads_to_the_present_one(bench: Bench, web: App) -> None:
    bench.world.forge.known = {"octo/site": WEB}
    bench.world.forge.moved["octo/web"] = "octo/site"
    row = ask(bench)
    assert (row.github_id, row.full_name) == (WEB, "octo/site")


def test_a_repository_that_was_deleted_and_made_again_gets_its_new_id(
    bench: Bench, web: App
) -> None:
    ask(bench)
    bench.world.forge.known = {"octo/web": OTHER}
    row = ask(bench)
    assert (row.github_id, row.identity_from) == (OTHER, IdentitySource.GITHUB)
    assert events(bench, Tag.REPOSITORY_IDENTIFIED)[-1].details == {"before": WEB, "after": OTHER}


def test_githubs_own_spelling_is_taken(bench: Bench) -> None:
    bench.world.forge.known["Octo/Web"] = WEB
    bench.app(token="ghp_own")
    assert ask(bench).full_name == "Octo/Web"


@pytest.mark.parametrize(
    ("git_url", "expected"),
    [
        ("https://github.com/octo/web.git", "https://github.com/new/home.git"),
        ("https://GitHub.com/Octo/Web", "https://GitHub.com/new/home"),
        ("https://github.com/octo/web/", "https://github.com/new/home"),
        ("https://mirror.example/octo/web.git", "https://mirror.example/octo/web.git"),
        ("https://github.com/octo/fork.git", "https://github.com/octo/fork.git"),
        ("https://github.com:8443/octo/web.git", "https://github.com:8443/octo/web.git"),
        ("file:///srv/octo/web.git", "file:///srv/octo/web.git"),
    ],
)
def test_only_githubs_own_address_by_that_name_follows(git_url: str, expected: str) -> None:
    assert followed(git_url, "github.com", "octo/web", "new/home") == expected


# --- What two repositories would have --------------------------------------------------------


def test_an_id_that_another_repository_has_is_not_learnt(bench: Bench, web: App) -> None:
    ask(bench)
    bench.app("site", repository="octo/site", token="ghp_site")
    bench.world.forge.moved["octo/site"] = "octo/web"
    assert identify_all(bench) == 1
    row = row_of(bench, 2)
    assert (row.github_id, row.full_name) == (None, "octo/site")
    told = f"GitHub says that it is the same repository as octo/web (id {WEB}); remove one of"
    assert (row.identity_problem or "").startswith(told)
    assert row_of(bench).identity_problem is None


def test_an_id_that_an_operator_gave_another_one_is_not_learnt(bench: Bench, web: App) -> None:
    bench.app("site", repository="octo/site")
    set_row(bench, 2, github_id=WEB, identity_from=IdentitySource.OPERATOR)
    row = ask(bench)
    assert row.github_id is None
    assert "same repository as octo/site" in (row.identity_problem or "")


def test_a_name_that_another_repository_has_is_not_taken(bench: Bench, web: App) -> None:
    ask(bench)
    bench.app("site", repository="octo/site")
    bench.world.forge.known = {"octo/site": WEB}
    row = ask(bench)
    assert (row.github_id, row.full_name) == (WEB, "octo/web")
    assert "GitHub calls it octo/site now" in (row.identity_problem or "")


def test_a_problem_that_is_over_is_forgotten(bench: Bench, web: App) -> None:
    set_row(bench, identity_problem="it was the same as another one")
    assert ask(bench).identity_problem is None


# --- Whom, and with what ---------------------------------------------------------------------


def with_settings(bench: Bench, **changes: object) -> None:
    settings: WorkerSettings = bench.runtime.settings.model_copy(update=changes)
    bench.runtime = replace(bench.runtime, settings=settings)


def test_the_global_token_is_used_where_it_belongs(bench: Bench) -> None:
    bench.world.forge.known |= {"octo/web": WEB, "octo/api": OTHER}
    bench.app()
    bench.app("api", repository="octo/api", git_url="https://git.example/octo/api.git")
    with_settings(bench, github_token=SecretStr("ghp_global"))
    identify_all(bench)
    assert bench.world.forge.tokens == ["ghp_global"]
    assert [row_of(bench, number).github_id for number in (1, 2)] == [WEB, None]
    assert row_of(bench, 2).identity_problem is None


def test_a_public_repository_needs_no_token(bench: Bench) -> None:
    bench.world.forge.known["octo/web"] = WEB
    bench.app()
    assert ask(bench).github_id == WEB
    assert bench.world.forge.tokens == [""]


def test_nobody_is_asked_about_what_no_app_is_deployed_from(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        session.delete(session.get_one(App, web.id))
    assert identify_all(bench) == 0


def test_a_name_that_only_a_delivery_has_told_is_not_asked_about(bench: Bench, web: App) -> None:
    """An attacker's row would get the id of the repository whose name it claims."""
    set_row(bench, is_name_claimed=True, identity_problem="unconfirmed")
    row = ask(bench)
    assert (row.github_id, row.identity_problem) == (None, "unconfirmed")
    assert asked(bench) == 0


def test_the_id_that_an_operator_gives_confirms_such_a_name(bench: Bench, web: App) -> None:
    set_row(bench, is_name_claimed=True, identity_problem="unconfirmed")
    with bench.writing() as session:
        set_github_id(session, session.get_one(Repository, 1), WEB, TESTER)
    row = ask(bench)
    assert (row.is_name_claimed, row.identity_problem, row.github_id) == (False, None, WEB)


def test_github_is_asked_about_one_repository_at_a_time(bench: Bench) -> None:
    for name in ("a", "b"):
        bench.app(name, repository=f"octo/{name}", token="ghp_own")
    assert identify_next(bench.runtime, bench.world.forge)
    assert bench.world.calls("identify") == ["identify octo/a"]
    assert identify_all(bench) == 1


# --- Trouble ---------------------------------------------------------------------------------


def test_trouble_only_delays(bench: Bench, web: App) -> None:
    bench.world.forge.hook_errors = [GitHubError("GitHub's API failed with status 500")]
    row = ask(bench)
    assert (row.github_id, row.identity_problem) == (None, None)
    assert is_close(row.identity_due_at, now() + timedelta(minutes=1))
    assert ask(bench).github_id == WEB


def test_a_pause_that_github_asks_for_is_kept(bench: Bench, web: App) -> None:
    bench.world.forge.hook_errors = [GitHubError("GitHub asks for a pause", retry_after_s=3000)]
    row = ask(bench)
    pause = now() + timedelta(seconds=3000)
    assert is_close(row.identity_due_at, pause)
    with bench.writing() as session:
        note_claim(session.get_one(Repository, 1), github_id=1, full_name="x/y")
    assert is_close(row_of(bench).identity_due_at, pause)


def test_a_pause_is_for_all_that_share_the_limit(bench: Bench) -> None:
    for name, token in (("a", None), ("b", None), ("c", "ghp_own")):
        bench.app(name, repository=f"octo/{name}", token=token)
    pause = GitHubError("GitHub asks for a pause", retry_after_s=3000)
    bench.world.forge.hook_errors = [pause]
    assert identify_all(bench) == 2
    assert bench.world.calls("identify") == ["identify octo/a", "identify octo/c"]
    until = now() + timedelta(seconds=3000)
    assert [is_close(row_of(bench, n).identity_due_at, until) for n in (1, 2, 3)] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("known", [None, WEB])
def test_what_the_token_may_not_see_is_a_persons_business(
    bench: Bench, web: App, known: int | None
) -> None:
    set_row(bench, github_id=known, identity_from=known and IdentitySource.GITHUB)
    bench.world.forge.known.clear()
    row = ask(bench)
    assert row.github_id == known
    assert "the token may not see it" in (row.identity_problem or "")
    assert is_close(row.identity_due_at, now() + timedelta(hours=1))


def test_another_token_is_tried_at_once(bench: Bench, web: App) -> None:
    bench.world.forge.hook_errors = [GitHubTokenError("the token is wrong", permanent=True)]
    assert "the token is wrong" in (ask(bench).identity_problem or "")
    set_row(bench, identity_paused_until=None)
    with bench.writing() as session:
        repository = session.get_one(Repository, 1)
        set_repository_token(
            session, repository, SecretStr("ghp_new"), TESTER, vault=bench.runtime.vault
        )
    assert identify_all(bench) == 1
    assert (row_of(bench).github_id, row_of(bench).identity_problem) == (WEB, None)


def test_a_token_that_cannot_be_opened_is_told(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        for secret in session.exec(select(RepositorySecret)).all():
            secret.sealed = b"not sealed by us"
    assert ask(bench).identity_problem
    assert asked(bench) == 0


def test_a_claim_in_the_middle_of_a_question_is_asked_about_again(bench: Bench, web: App) -> None:
    def claim(_about: str) -> None:
        with bench.writing() as session:
            note_claim(session.get_one(Repository, 1), github_id=OTHER, full_name="octo/web")

    bench.world.forge.on("identify", claim)
    row = ask(bench)
    assert row.github_id == WEB
    assert row.identity_due_at is not None
    assert row.identity_due_at <= now() + NOT_SOONER


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda session, row: set_github_id(session, row, OTHER, TESTER),
        lambda session, row: session.delete(row),
    ],
    ids=["an operator gives an id", "it is removed"],
)
def test_an_operators_change_during_a_request_wins(
    bench: Bench, web: App, meanwhile: Callable[..., object]
) -> None:
    def act(_about: str) -> None:
        with bench.writing() as session:
            session.delete(session.get_one(App, web.id))
            session.flush()
            meanwhile(session, session.get_one(Repository, 1))

    bench.world.forge.on("identify", act)
    identify_all(bench)
    with bench.reading() as session:
        row = session.get(Repository, 1)
    assert row is None or (row.github_id, row.identity_from) == (OTHER, IdentitySource.OPERATOR)


def test_two_processes_ask_once(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        assert take_turn(session) is not None
    assert identify_all(bench) == 0


def test_frequent_claims_ask_github_only_once_a_minute(bench: Bench, web: App) -> None:
    ask(bench)
    for number in range(5):
        with bench.writing() as session:
            note_claim(session.get_one(Repository, 1), github_id=number, full_name="x/y")
        assert identify_all(bench) == 0
    due_at = row_of(bench).identity_due_at
    assert due_at is not None
    assert due_at <= now() + NOT_SOONER
    assert asked(bench) == 1


def test_a_killed_question_is_asked_again(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        assert take_turn(session) is not None
    row = row_of(bench)
    assert row.identity_due_at is not None
    assert row.identity_due_at <= now() + timedelta(minutes=2)


# --- An operator's word ----------------------------------------------------------------------


def test_an_operators_id_is_kept_and_on_record(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        set_github_id(session, session.get_one(Repository, 1), OTHER, TESTER)
    row = row_of(bench)
    assert (row.github_id, row.identity_from) == (OTHER, IdentitySource.OPERATOR)
    assert is_close(row.identity_checked_at, now())
    (event,) = events(bench, Tag.REPOSITORY_IDENTIFIED)
    assert (event.actor, event.details) == ("user:ada", {"before": None, "after": OTHER})


def test_githubs_answer_confirms_it_and_gives_the_name(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        set_github_id(session, session.get_one(Repository, 1), OTHER, TESTER)
    bench.world.forge.known = {"octo/web": WEB, "octo/site": OTHER}
    row = ask(bench)
    assert (row.github_id, row.identity_from) == (OTHER, IdentitySource.OPERATOR)
    assert row.full_name == "octo/site"


def test_githubs_answer_does_not_remove_an_operators_id(bench: Bench, web: App) -> None:
    with bench.writing() as session:
        set_github_id(session, session.get_one(Repository, 1), OTHER, TESTER)
    row = ask(bench)
    assert (row.github_id, row.identity_from) == (OTHER, IdentitySource.OPERATOR)
    assert row.identity_problem


def test_removing_an_operators_id_asks_github_at_once(bench: Bench, web: App) -> None:
    for github_id in (OTHER, None):
        with bench.writing() as session:
            set_github_id(session, session.get_one(Repository, 1), github_id, TESTER)
    row = row_of(bench)
    assert (row.github_id, row.identity_from, row.identity_checked_at) == (None, None, None)
    assert identify_all(bench) == 1
    assert row_of(bench).github_id == WEB


def test_an_id_that_another_one_has_is_refused(bench: Bench, web: App) -> None:
    bench.app("api", repository="octo/api")
    set_row(bench, 2, github_id=OTHER)
    with bench.writing() as session, pytest.raises(ConflictError, match="is the id of octo/api"):
        set_github_id(session, session.get_one(Repository, 1), OTHER, TESTER)
