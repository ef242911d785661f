"""Users, sessions and tokens: stored hashed, ended when they should, and always on record."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.errors import ConfigurationError, ConflictError, NotFoundError
from jobs.models import ApiToken, AuditEvent, LoginSession, User, now
from jobs.records.access import (
    SESSION_IDLE,
    SESSION_LONGEST,
    add_user,
    change_user,
    check_password,
    close_session,
    create_token,
    find_session,
    find_token,
    find_user,
    note_failed_login,
    open_session,
    remove_user,
    revoke_token,
    touch_session,
    touch_token,
)
from jobs.records.audit import Tag
from jobs.states import Role
from tests.jobs.bench import TESTER, Bench

PASSWORD = SecretStr("correct horse")


@pytest.fixture
def session(bench: Bench) -> Iterator[Session]:
    with bench.writing() as session:
        yield session


@pytest.fixture
def ada(session: Session) -> User:
    """An admin; the password's hash is one that nothing fits, which is quick."""
    user = User(name="ada", role=Role.ADMIN, password_hash="none")
    session.add(user)
    session.flush()
    return user


class TestPasswords:
    def test_the_right_one_and_no_other(self, session: Session) -> None:
        user = add_user(session, name="ada", role=Role.ADMIN, password=PASSWORD, actor=TESTER)
        assert PASSWORD.get_secret_value() not in user.password_hash
        assert check_password(user, PASSWORD)
        assert not check_password(user, SecretStr("wrong horse"))
        assert not check_password(None, PASSWORD)
        user.disabled_at = now()
        assert not check_password(user, PASSWORD)

    def test_short_ones_are_refused_unquoted(self, session: Session) -> None:
        with pytest.raises(ConfigurationError, match="at least 8") as caught:
            add_user(
                session, name="ada", role=Role.ADMIN, password=SecretStr("hunter2"), actor=TESTER
            )
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("name", ["", "Ada", "-ada", "a b", "ada\n"])
    def test_names_are_plain(self, session: Session, name: str) -> None:
        with pytest.raises(ConfigurationError):
            add_user(session, name=name, role=Role.ADMIN, password=PASSWORD, actor=TESTER)


class TestUsers:
    @pytest.mark.usefixtures("ada")
    def test_the_last_admin_stays(self, session: Session) -> None:
        for call in (
            lambda: remove_user(session, "ada", TESTER),
            lambda: change_user(session, "ada", role=Role.VIEWER, disabled=None, actor=TESTER),
            lambda: change_user(session, "ada", role=None, disabled=True, actor=TESTER),
        ):
            with pytest.raises(ConflictError, match="last admin"):
                call()

    @pytest.mark.usefixtures("ada")
    def test_an_admin_who_is_shut_out_does_not_count(self, session: Session) -> None:
        other = User(name="bob", role=Role.ADMIN, password_hash="none", disabled_at=now())
        session.add(other)
        with pytest.raises(ConflictError):
            remove_user(session, "ada", TESTER)
        other.disabled_at = None
        remove_user(session, "ada", TESTER)
        with pytest.raises(NotFoundError):
            find_user(session, "ada")

    def test_who_is_shut_out_is_logged_out(self, session: Session, ada: User) -> None:
        session.add(User(name="bob", role=Role.ADMIN, password_hash="none"))
        opened = open_session(session, ada, TESTER)
        change_user(session, "ada", role=None, disabled=True, actor=TESTER)
        assert find_session(session, opened.cookie.get_secret_value()) is None


class TestSessions:
    def test_a_cookie_is_stored_hashed(self, session: Session, ada: User) -> None:
        cookie = open_session(session, ada, TESTER).cookie.get_secret_value()
        found = find_session(session, cookie)
        assert found is not None
        assert found[1].name == "ada"
        assert cookie not in found[0].hashed
        assert find_session(session, found[0].hashed) is None

    @pytest.mark.parametrize(
        ("seen", "created", "is_open"),
        [
            (timedelta(), timedelta(), True),
            (SESSION_IDLE * 0.9, SESSION_IDLE, True),
            (SESSION_IDLE * 1.1, SESSION_IDLE * 1.1, False),
            (timedelta(), SESSION_LONGEST * 1.1, False),
        ],
    )
    def test_it_ends_when_idle_and_after_its_time(
        self,
        session: Session,
        ada: User,
        *,
        seen: timedelta,
        created: timedelta,
        is_open: bool,
    ) -> None:
        cookie = open_session(session, ada, TESTER).cookie.get_secret_value()
        row = session.exec(select(LoginSession)).one()
        row.last_seen_at, row.created_at = now() - seen, now() - created
        assert (find_session(session, cookie) is not None) is is_open

    def test_using_it_keeps_it_open(self, session: Session, ada: User) -> None:
        cookie = open_session(session, ada, TESTER).cookie.get_secret_value()
        row = session.exec(select(LoginSession)).one()
        row.last_seen_at = now() - SESSION_IDLE * 1.1
        touch_session(session, row.id or 0)
        assert find_session(session, cookie) is not None

    def test_logging_out_ends_it(self, session: Session, ada: User) -> None:
        cookie = open_session(session, ada, TESTER).cookie.get_secret_value()
        close_session(session, cookie, TESTER)
        assert find_session(session, cookie) is None
        close_session(session, cookie, TESTER)

    def test_logins_are_on_record(self, session: Session, ada: User) -> None:
        open_session(session, ada, TESTER)
        note_failed_login(session, "x" * 500, "10.0.0.1")
        session.flush()
        rows = session.exec(select(AuditEvent)).all()
        assert [row.tag for row in rows] == [Tag.LOGIN_SUCCEEDED, Tag.LOGIN_FAILED]
        assert rows[1].address == "10.0.0.1"


class TestTokens:
    def test_it_is_shown_once_and_stored_hashed(self, session: Session) -> None:
        token = create_token(session, name="ci", role=Role.DEPLOYER, actor=TESTER)
        value = token.get_secret_value()
        assert value.startswith("ks_")
        row = find_token(session, value)
        assert row is not None
        assert (row.name, row.role) == ("ci", Role.DEPLOYER)
        assert value not in row.hashed
        assert find_token(session, row.hashed) is None
        touch_token(session, row.id or 0)
        assert row.last_used_at is not None

    def test_a_revoked_one_is_worthless_and_its_name_is_free(self, session: Session) -> None:
        old = create_token(session, name="ci", role=Role.ADMIN, actor=TESTER).get_secret_value()
        with pytest.raises(ConflictError, match="revoke it first"):
            create_token(session, name="ci", role=Role.ADMIN, actor=TESTER)
        revoke_token(session, "ci", TESTER)
        assert find_token(session, old) is None
        with pytest.raises(NotFoundError):
            revoke_token(session, "ci", TESTER)
        create_token(session, name="ci", role=Role.ADMIN, actor=TESTER)
        assert find_token(session, old) is None
        assert len(session.exec(select(ApiToken)).all()) == 1
