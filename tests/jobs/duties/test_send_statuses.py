"""The outbox: every status reaches GitHub in order, once, and holds up nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from jobs.duties.identify import identify_next
from jobs.duties.send_statuses import (
    DOUBTED_ATTEMPTS,
    LONGEST_DELAY,
    MOST_ATTEMPTS,
    next_attempt,
    send_due,
)
from jobs.errors import (
    GitHubContentError,
    GitHubError,
    GitHubNotFoundError,
    GitHubTokenError,
)
from jobs.records.repositories import set_repository_token
from jobs.records.statuses import NO_TOKEN, OVERTAKEN
from jobs.states import GitHubState, IdentitySource
from jobs.storage.models import App, CommitStatus, Repository, RepositorySecret, now
from jobs.storage.vault import Vault
from jobs.watcher import send_all
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(token="ghp_own")


def make_due(bench: Bench) -> None:
    with bench.writing() as session:
        for status in session.exec(select(CommitStatus)).all():
            if status.next_attempt_at is not None:
                status.next_attempt_at = now() - timedelta(seconds=1)


def send(bench: Bench) -> list[str]:
    """Send what is due, and give what GitHub was told in this round."""
    forge = bench.world.forge
    before = len(forge.posts)
    send_all(bench.runtime, forge)
    return [str(post.state) for post in forge.posts[before:]]


def test_a_deployment_is_told_from_its_beginning_to_its_end(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        session.get_one(Repository, app.repository_id).github_id = 99
    deployment = bench.push(app)
    assert send(bench) == ["pending"]
    bench.run(deployment)
    assert send(bench) == ["pending", "success"]
    (queued, _, live) = bench.world.forge.posts
    assert queued.context == "keystone/web"
    assert queued.sha == bench.deployment(deployment).commit_sha
    assert queued.target_url == f"http://127.0.0.1:8000/deployments/{deployment}"
    assert (queued.repository.full_name, queued.repository.github_id) == ("octo/web", 99)
    assert queued.description == "Deployment #1: queued"
    assert live.description == "Deployment #1: live"
    assert set(bench.world.forge.tokens) == {"ghp_own"}
    assert all(status.posted_at for status in bench.statuses(deployment))


def test_a_failure_says_why(bench: Bench, app: App) -> None:
    bench.world.engine.behaviour = Behaviour(exits=3)
    bench.run(bench.push(app))
    assert send(bench)[-1] == "failure"
    assert "exited with code 3" in bench.world.forge.posts[-1].description


def test_nothing_is_posted_twice(bench: Bench, app: App) -> None:
    bench.push(app)
    assert send(bench) == ["pending"]
    assert send(bench) == []
    assert send_due(bench.runtime, bench.world.forge) == 0


def test_a_pending_that_a_later_pending_repeats_is_left_out(bench: Bench, app: App) -> None:
    deployment = bench.deploy(app)
    assert send(bench) == ["pending", "success"]
    assert [status.error for status in bench.statuses(deployment.id or 0)] == [OVERTAKEN, "", ""]


@pytest.fixture
def delay(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """The first pause, and not 5 s: those may be over before a busy machine has looked."""
    delay = timedelta(minutes=5)
    monkeypatch.setattr("jobs.duties.send_statuses.FIRST_DELAY", delay)
    return delay


def test_a_failed_status_is_retried_later_and_then_posted(
    bench: Bench, app: App, delay: timedelta
) -> None:
    deployment = bench.push(app)
    bench.world.forge.errors = [GitHubError("GitHub answered 502")]
    begun = now()
    assert send(bench) == []
    (status,) = bench.statuses(deployment)
    assert (status.attempts, status.error, status.posted_at) == (1, "GitHub answered 502", None)
    assert status.next_attempt_at is not None
    assert begun + delay <= status.next_attempt_at <= now() + delay
    make_due(bench)
    assert send(bench) == ["pending"]
    (status,) = bench.statuses(deployment)
    assert (status.error, status.next_attempt_at) == ("", None)


@pytest.mark.usefixtures("delay")
def test_a_retried_status_never_overwrites_a_later_one(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.world.forge.errors = [GitHubError("GitHub answered 502")]
    send(bench)
    bench.run(deployment)
    assert send(bench) == ["pending", "success"]
    make_due(bench)
    assert send(bench) == []
    assert bench.statuses(deployment)[0].error == OVERTAKEN


def test_a_rate_limit_is_waited_for(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.world.forge.errors = [GitHubError("slow down", retry_after_s=120)]
    begun, pause = now(), timedelta(seconds=120)
    send(bench)
    (status,) = bench.statuses(deployment)
    assert status.next_attempt_at is not None
    assert begun + pause <= status.next_attempt_at <= now() + pause
    assert send(bench) == []


def test_a_refused_token_is_flagged_and_not_tried_again(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.world.forge.errors = [GitHubTokenError("the token is expired or wrong", permanent=True)]
    send(bench)
    (status,) = bench.statuses(deployment)
    assert (status.error, status.next_attempt_at) == ("the token is expired or wrong", None)
    assert problem(bench, app) == "the token is expired or wrong"
    bench.run(deployment)
    send(bench)
    assert problem(bench, app) is None


def test_another_token_tells_the_last_word_of_each_app(bench: Bench, app: App) -> None:
    bench.world.forge.fail("post_status", GitHubTokenError("Bad credentials", permanent=True))
    bench.deploy(app)
    assert send(bench) == []
    bench.world.forge.heal()
    with bench.writing() as session:
        repository = session.get_one(Repository, app.repository_id)
        vault = bench.runtime.vault
        set_repository_token(session, repository, SecretStr("ghp_another"), TESTER, vault=vault)
    assert send(bench) == ["success"]
    assert bench.world.forge.tokens[-1] == "ghp_another"


def test_a_status_that_is_refused_for_its_own_sake_says_nothing_of_the_token(
    bench: Bench, app: App
) -> None:
    deployment = bench.push(app)
    bench.world.forge.errors = [GitHubError("GitHub refused the status", permanent=True)]
    send(bench)
    assert bench.statuses(deployment)[0].error == "GitHub refused the status"
    assert problem(bench, app) is None


def test_a_description_that_github_refuses_is_sent_once_more_without_the_reason(
    bench: Bench, app: App
) -> None:
    bench.world.engine.behaviour = Behaviour(exits=3)
    deployment = bench.push(app)
    send(bench)
    bench.run(deployment)
    send_due(bench.runtime, bench.world.forge)
    bench.world.forge.posts.clear()
    bench.world.forge.errors = [GitHubContentError("description is not good", permanent=True)]
    with bench.writing() as session:
        last = session.exec(select(CommitStatus).order_by(col(CommitStatus.id).desc())).first()
        assert last is not None
        last.next_attempt_at = now()
    assert send(bench) == ["failure"]
    assert bench.world.forge.posts[0].description == "Deployment #1: failure"
    assert bench.statuses(deployment)[-1].posted_at is not None
    assert problem(bench, app) is None


def test_what_github_refuses_twice_is_given_up_in_its_words(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    limit = "This SHA and context has reached the maximum number of statuses."
    forge = bench.world.forge
    forge.errors = [GitHubContentError(limit, permanent=True) for _ in range(3)]
    assert send(bench) == []
    assert len(forge.errors) == 1
    (status,) = bench.statuses(deployment)
    assert (status.error, status.next_attempt_at, status.posted_at) == (limit, None, None)
    assert problem(bench, app) is None


@pytest.mark.usefixtures("delay")
def test_a_repository_that_was_made_again_hears_of_it_by_its_new_id(bench: Bench, app: App) -> None:
    forge = bench.world.forge
    with bench.writing() as session:
        row = session.get_one(Repository, app.repository_id)
        row.github_id, row.identity_from = 99, IdentitySource.GITHUB
        row.identity_due_at = now() + timedelta(hours=12)
    forge.known["octo/web"] = 100
    deployment = bench.push(app)
    gone = GitHubNotFoundError("octo/web does not exist", permanent=True)
    forge.errors = [gone]
    assert send(bench) == []
    assert bench.statuses(deployment)[0].next_attempt_at is not None
    assert problem(bench, app) is None
    assert identify_next(bench.runtime, forge)
    make_due(bench)
    assert send(bench) == ["pending"]
    assert forge.posts[-1].repository.github_id == 100


def test_a_missing_repository_is_given_up_and_its_token_flagged(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        session.get_one(Repository, app.repository_id).github_id = 99
    deployment = bench.push(app)
    gone = GitHubNotFoundError("octo/web does not exist", permanent=True)
    bench.world.forge.errors = [gone] * (DOUBTED_ATTEMPTS + 1)
    for _ in range(DOUBTED_ATTEMPTS + 1):
        make_due(bench)
        send(bench)
    (status,) = bench.statuses(deployment)
    assert (status.next_attempt_at, status.error) == (None, "octo/web does not exist")
    assert problem(bench, app) == "octo/web does not exist"


def test_until_when_the_token_works_is_kept(bench: Bench, app: App) -> None:
    bench.world.forge.token_expires_at = datetime(2026, 12, 1, tzinfo=UTC)
    bench.push(app)
    send(bench)
    with bench.reading() as session:
        repository = session.get_one(Repository, app.repository_id)
        assert repository.token_expires_at == datetime(2026, 12, 1, tzinfo=UTC)


def problem(bench: Bench, app: App) -> str | None:
    with bench.reading() as session:
        return session.get_one(Repository, app.repository_id).token_problem


def test_a_status_is_given_up_after_about_a_day(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    with bench.writing() as session:
        session.exec(select(CommitStatus)).one().attempts = MOST_ATTEMPTS - 1
    bench.world.forge.errors = [GitHubError("GitHub answered 502")]
    send(bench)
    (status,) = bench.statuses(deployment)
    assert (status.attempts, status.next_attempt_at) == (MOST_ATTEMPTS, None)


def test_without_a_token_it_says_not_configured(bench: Bench) -> None:
    app = bench.app()
    deployment = bench.push(app)
    assert send(bench) == []
    (status,) = bench.statuses(deployment)
    assert (status.error, status.next_attempt_at) == (NO_TOKEN, None)
    assert problem(bench, app) is None


def test_the_global_token_tells_of_a_repository_that_is_fetched_from_elsewhere(
    bench: Bench,
) -> None:
    app = bench.app()
    bench.push(app)
    with bench.writing() as session:
        session.exec(select(Repository)).one().git_url = "https://mirror.example/octo/web.git"
    settings = bench.runtime.settings.model_copy(update={"github_token": SecretStr("ghp_global")})
    send_all(replace(bench.runtime, settings=settings), bench.world.forge)
    assert [str(post.state) for post in bench.world.forge.posts] == ["pending"]
    assert bench.world.forge.tokens == ["ghp_global"]


def test_a_token_that_cannot_be_opened_holds_up_nobody_else(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    other = bench.app("other", repository="octo/other", token="ghp_other")
    with bench.writing() as session:
        row = session.exec(
            select(RepositorySecret).where(RepositorySecret.repository_id == app.repository_id)
        ).all()[-1]
        row.sealed = Vault([SecretStr("a key that somebody lost")]).seal(SecretStr("x"))
    bench.ask(other, sha="a" * 40)
    assert send(bench) == ["pending"]
    assert bench.world.forge.tokens == ["ghp_other"]
    assert "sealed with another key" in bench.statuses(deployment)[0].error


def test_a_commit_that_is_not_known_yet_has_no_status(bench: Bench, app: App) -> None:
    deployment = bench.ask(app)
    assert bench.statuses(deployment) == []
    bench.commit()
    bench.run(deployment)
    assert [status.state for status in bench.statuses(deployment)] == [
        GitHubState.PENDING,
        GitHubState.SUCCESS,
    ]


def test_github_being_down_fails_no_deployment(bench: Bench, app: App) -> None:
    bench.world.forge.fail("post_status", GitHubError("GitHub cannot be reached"))
    bench.deploy(app)
    send(bench)
    assert bench.states(app) == ["success"]


def test_the_pauses_grow_to_a_quarter_of_an_hour() -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    pauses = [next_attempt(attempts, moment) - moment for attempts in range(MOST_ATTEMPTS)]
    assert pauses[:3] == [timedelta(seconds=s) for s in (5, 10, 20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_DELAY
    assert timedelta(hours=20) < sum(pauses, timedelta()) < timedelta(hours=28)


@pytest.mark.parametrize(("wish", "pause"), [(0, 1), (-5, 1), (90, 90), (10**9, 3600)])
def test_githubs_wish_is_bounded(wish: float, pause: int) -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    assert next_attempt(9, moment, retry_after_s=wish) - moment == timedelta(seconds=pause)
