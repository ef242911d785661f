"""Tokens that are refused and work again, and webhook secrets that change without a lost push."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import Session, col, select

from jobs.errors import ConfigurationError, ConflictError, NotFoundError
from jobs.reads.repositories import repository_view
from jobs.reads.secrets import repository_token, webhook_secrets
from jobs.records.repositories import (
    MOST_SECRETS,
    drop_webhook_secrets,
    find_repository,
    finish_webhook_rotation,
    forget_expired,
    note_token_refused,
    note_token_works,
    rotate_webhook_secret,
    set_repository_token,
)
from jobs.storage.models import App, AuditEvent, Repository, RepositorySecret, TokenUse, now
from tests.jobs.bench import TESTER, Bench

API, FETCH = TokenUse.API, TokenUse.FETCH
LATER = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Changed = Callable[[Session, Repository], object]


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(token="ghp_old")


class TestTheToken:
    def row(self, bench: Bench, app: App, change: Changed | None = None) -> Repository:
        """Give the repository as it is after a change."""
        with bench.writing() as session:
            repository = session.get_one(Repository, app.repository_id)
            if change is not None:
                change(session, repository)
            return repository

    def refuse(self, bench: Bench, app: App, use: TokenUse, problem: str) -> None:
        with bench.writing() as session:
            note_token_refused(session, app.repository_id, use, problem)

    def works(self, bench: Bench, app: App, use: TokenUse) -> None:
        with bench.writing() as session:
            note_token_works(session, app.repository_id, use, expires_at=LATER)

    def test_what_was_refused_is_remembered_in_bounded_words(self, bench: Bench, app: App) -> None:
        self.refuse(bench, app, API, "x" * 1000)
        assert self.row(bench, app).token_problem == "x" * 500

    def test_it_is_forgotten_when_the_same_thing_works(self, bench: Bench, app: App) -> None:
        self.refuse(bench, app, FETCH, "the repository refused the token")
        self.works(bench, app, API)
        assert self.row(bench, app).token_problem == "the repository refused the token"
        self.works(bench, app, FETCH)
        assert self.row(bench, app).token_problem is None
        assert self.row(bench, app).token_expires_at == LATER

    def test_a_new_token_begins_anew(self, bench: Bench, app: App) -> None:
        self.refuse(bench, app, API, "expired")
        self.works(bench, app, FETCH)

        def change(session: Session, repository: Repository) -> None:
            set_repository_token(
                session, repository, SecretStr("ghp_new"), TESTER, vault=bench.runtime.vault
            )

        row = self.row(bench, app, change)
        assert (row.token_problem, row.token_problem_of, row.token_expires_at) == (None,) * 3


def rotate(
    bench: Bench, app: App, overlap: timedelta = HOUR, own: SecretStr | None = None
) -> SecretStr:
    with bench.writing() as session:
        repository = find_repository(session, app.repository_id)
        return rotate_webhook_secret(
            session, repository, TESTER, vault=bench.runtime.vault, overlap=overlap, own=own
        )


def finish(bench: Bench, app: App) -> int:
    with bench.writing() as session:
        repository = find_repository(session, app.repository_id)
        return finish_webhook_rotation(session, repository, TESTER)


def drop(bench: Bench, app: App, fallback: str = "what verifies instead") -> None:
    with bench.writing() as session:
        repository = find_repository(session, app.repository_id)
        drop_webhook_secrets(session, repository, TESTER, fallback=SecretStr(fallback))


def verifying(bench: Bench, app: App) -> list[SecretStr]:
    with bench.reading() as session:
        return webhook_secrets(session, app.repository_id, bench.runtime.vault)


def until(bench: Bench, app: App) -> datetime | None:
    with bench.reading() as session:
        return repository_view(session, app.repository_id).webhook_secret.previous_until


def events(bench: Bench) -> list[AuditEvent]:
    with bench.reading() as session:
        wanted = col(AuditEvent.tag).startswith("repository.webhook_secret")
        return list(session.exec(select(AuditEvent).where(wanted)).all())


class TestTheWebhookSecret:
    def test_both_verify_until_a_stated_time(self, bench: Bench, app: App) -> None:
        (old,) = verifying(bench, app)
        assert until(bench, app) is None
        new = rotate(bench, app)
        assert verifying(bench, app) == [new, old]
        ends = until(bench, app)
        assert ends is not None
        assert timedelta(minutes=59) < ends - now() <= HOUR

    def test_then_only_the_new_one_does(self, bench: Bench, app: App) -> None:
        new = rotate(bench, app)
        with bench.writing() as session:
            for row in session.exec(select(RepositorySecret)).all():
                if row.expires_at is not None:
                    row.expires_at = now() - timedelta(seconds=1)
        assert verifying(bench, app) == [new]
        assert until(bench, app) is None
        with bench.writing() as session:
            before = len(session.exec(select(RepositorySecret)).all())
            forget_expired(session)
            assert len(session.exec(select(RepositorySecret)).all()) == before - 1

    def test_a_person_ends_it_sooner(self, bench: Bench, app: App) -> None:
        new = rotate(bench, app)
        assert finish(bench, app) == 1
        assert verifying(bench, app) == [new]
        with pytest.raises(ConflictError, match="one webhook secret only"):
            finish(bench, app)

    def test_without_an_overlap_the_old_one_ends_at_once(self, bench: Bench, app: App) -> None:
        new = rotate(bench, app, timedelta(0))
        assert verifying(bench, app) == [new]

    def test_a_second_rotation_gives_the_first_no_more_time(self, bench: Bench, app: App) -> None:
        rotate(bench, app, HOUR)
        first = until(bench, app)
        rotate(bench, app, 2 * HOUR)
        with bench.reading() as session:
            rows = session.exec(select(RepositorySecret).order_by(col(RepositorySecret.id))).all()
        ends = [row.expires_at for row in rows if row.expires_at is not None]
        assert ends[0] == first
        assert len(verifying(bench, app)) == 3

    def test_there_are_never_many(self, bench: Bench, app: App) -> None:
        for _ in range(MOST_SECRETS - 1):
            rotate(bench, app)
        with pytest.raises(ConflictError, match="keystone webhook-secret finish"):
            rotate(bench, app)
        # Whoever has to end them all is not kept from it.
        new = rotate(bench, app, timedelta(0))
        assert verifying(bench, app) == [new]

    def test_other_repositories_keep_theirs(self, bench: Bench, app: App) -> None:
        other = bench.app("other", repository="octo/other")
        theirs = verifying(bench, other)
        rotate(bench, app, timedelta(0))
        assert verifying(bench, other) == theirs

    def test_all_of_them_are_dropped_and_nothing_else(self, bench: Bench, app: App) -> None:
        other = bench.app("other", repository="octo/other")
        theirs = verifying(bench, other)
        rotate(bench, app)
        drop(bench, app)
        assert (verifying(bench, app), verifying(bench, other)) == ([], theirs)
        with bench.reading() as session:
            assert repository_token(session, app.repository_id, bench.runtime.vault) is not None
            assert repository_view(session, app.repository_id).webhook_secret.since is None

    def test_dropping_them_again_changes_nothing(self, bench: Bench, app: App) -> None:
        for _ in range(2):
            drop(bench, app)
        [event] = events(bench)
        assert event.tag == "repository.webhook_secret_dropped"
        assert event.details == {"dropped": 1}

    def test_they_stay_when_nothing_would_verify(self, bench: Bench, app: App) -> None:
        kept = verifying(bench, app)
        with pytest.raises(ConflictError, match="set KEYSTONE_WEBHOOK_SECRET"):
            drop(bench, app, fallback="")
        assert (verifying(bench, app), events(bench)) == (kept, [])

    def test_a_rotation_makes_one_where_there_is_none(self, bench: Bench, app: App) -> None:
        drop(bench, app)
        new = rotate(bench, app)
        assert (verifying(bench, app), until(bench, app)) == ([new], None)

    def test_somebodys_own_is_taken(self, bench: Bench, app: App) -> None:
        own = SecretStr("sixteen letters!")
        assert rotate(bench, app, own=own) == own
        assert verifying(bench, app)[0] == own

    @pytest.mark.parametrize(
        ("own", "sentence"),
        [
            ("fifteen letters", "at least 16 characters"),
            ("x" * 201, "at most 200"),
            ("a line, and\nanother line", "on one line"),
            (" with a space before it", "without spaces at its ends"),
        ],
    )
    def test_one_that_will_not_do_is_refused_without_being_shown(
        self, bench: Bench, app: App, own: str, sentence: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=sentence) as caught:
            rotate(bench, app, own=SecretStr(own))
        assert own not in str(caught.value)
        assert len(verifying(bench, app)) == 1

    def test_it_is_on_record_without_the_secret(self, bench: Bench, app: App) -> None:
        new = rotate(bench, app)
        finish(bench, app)
        rotated, finished = events(bench)
        assert (rotated.tag, finished.tag) == (
            "repository.webhook_secret_rotated",
            "repository.webhook_secret_finished",
        )
        assert rotated.details.keys() == {"own", "previous_until"}
        assert new.get_secret_value() not in f"{rotated.details}{finished.details}"


def test_a_repository_that_is_not_there_is_named(bench: Bench) -> None:
    with bench.writing() as session, pytest.raises(NotFoundError, match="the id 7"):
        find_repository(session, 7)
