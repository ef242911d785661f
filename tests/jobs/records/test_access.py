"""Users, sessions and tokens: stored hashed, ended when they should, and always on record."""

import timeit
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from time import process_time

import pytest
from argon2 import extract_parameters
from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.errors import ConfigurationError, ConflictError, NotFoundError
from jobs.reads.people import SESSION_IDLE, SESSION_LONGEST, api_token_state, sessions_of
from jobs.records import users
from jobs.records.audit import Tag
from jobs.records.logins import (
    MOST_SESSIONS,
    close_session,
    end_sessions,
    find_session,
    note_failed_login,
    open_session,
    session_view,
    touch_session,
)
from jobs.records.tokens import (
    DEFAULT_DAYS,
    LONGEST_DAYS,
    create_api_token,
    find_api_token,
    revoke_api_token,
    touch_api_token,
)
from jobs.records.users import (
    add_user,
    change_user,
    check_password,
    find_user,
    hash_password,
    is_as_it_was,
    remove_user,
    set_password,
)
from jobs.rules.actors import Actor, stranger
from jobs.states import ActorKind, Role, TokenState
from jobs.storage.models import ApiToken, AuditEvent, LoginSession, User, now
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


@pytest.mark.usefixtures("real_passwords")
class TestPasswords:
    def test_the_right_one_and_no_other(self, session: Session) -> None:
        user = add_user(session, name="ada", role=Role.ADMIN, password=PASSWORD, actor=TESTER)
        assert PASSWORD.get_secret_value() not in user.password_hash
        assert check_password(user, PASSWORD)
        assert not check_password(user, SecretStr("wrong horse"))
        assert not check_password(None, PASSWORD)
        user.disabled_at = now()
        assert not check_password(user, PASSWORD)

    def test_they_are_hashed_as_rfc_9106_recommends(self, session: Session) -> None:
        user = add_user(session, name="ada", role=Role.ADMIN, password=PASSWORD, actor=TESTER)
        assert user.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")

    def test_nobody_takes_as_long_as_somebody(self, session: Session) -> None:
        """A name that does not exist must not be found out by the clock: 0.1 s against 0.1 ms.

        Measured by the processor's time, which a busy machine does not lengthen.
        """
        user = add_user(session, name="ada", role=Role.ADMIN, password=PASSWORD, actor=TESTER)
        wrong = SecretStr("a wrong guess")
        known, unknown = (
            min(
                timeit.repeat(
                    partial(check_password, who, wrong), timer=process_time, number=1, repeat=2
                )
            )
            for who in (user, None)
        )
        assert known / 5 < unknown < known * 5

    def test_what_nobody_has_is_hashed_with_the_same_parameters(self) -> None:
        assert extract_parameters(users._NOBODY) == extract_parameters(users._hasher.hash("any"))

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
    def test_changes_say_what_was_and_what_is(self, session: Session) -> None:
        session.add(User(name="bob", role=Role.ADMIN, password_hash="none"))
        session.flush()
        change_user(session, "ada", role=Role.VIEWER, disabled=None, actor=TESTER)
        change_user(session, "ada", role=Role.VIEWER, disabled=False, actor=TESTER)
        (event,) = session.exec(select(AuditEvent).where(AuditEvent.target == "user:ada")).all()
        assert event.details == {
            "before": {"role": "admin", "disabled": False},
            "after": {"role": "viewer", "disabled": False},
        }

    def test_a_new_password_ends_every_session_but_the_one_that_asks(
        self, session: Session, ada: User
    ) -> None:
        mine, other = (
            open_session(session, ada, TESTER).cookie.get_secret_value() for _ in range(2)
        )
        set_password(session, "ada", PASSWORD, TESTER, keep=mine)
        assert find_session(session, mine) is not None
        assert find_session(session, other) is None
        set_password(session, "ada", PASSWORD, TESTER)
        assert find_session(session, mine) is None

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
        note_failed_login(session, ada, stranger("10.0.0.1"))
        note_failed_login(session, None, stranger("10.0.0.1"))
        session.flush()
        rows = session.exec(select(AuditEvent)).all()
        assert [row.tag for row in rows] == [Tag.LOGIN_SUCCEEDED, *[Tag.LOGIN_FAILED] * 2]
        assert [row.target for row in rows] == ["user:ada", "user:ada", "user:?"]
        assert (rows[1].actor, rows[1].address) == ("stranger:unknown", "10.0.0.1")

    def test_a_new_one_takes_the_place_of_the_browsers_old_one(
        self, session: Session, ada: User
    ) -> None:
        old = open_session(session, ada, TESTER).cookie.get_secret_value()
        new = open_session(session, ada, TESTER, instead_of=old).cookie.get_secret_value()
        assert new != old
        assert find_session(session, old) is None
        assert find_session(session, new) is not None

    def test_a_user_has_so_many_and_the_least_used_one_goes(
        self, session: Session, ada: User
    ) -> None:
        cookies = [
            open_session(session, ada, TESTER).cookie.get_secret_value()
            for _ in range(MOST_SESSIONS)
        ]
        least = session.exec(select(LoginSession)).all()[3]
        least.last_seen_at = now() - timedelta(hours=1)
        session.flush()
        open_session(session, ada, TESTER)
        assert len(session.exec(select(LoginSession)).all()) == MOST_SESSIONS
        assert [n for n, c in enumerate(cookies) if find_session(session, c) is None] == [3]

    def test_they_are_listed_with_where_they_came_from(self, session: Session, ada: User) -> None:
        away = Actor(ActorKind.USER, "ada", "192.0.2.7")
        cookie = open_session(session, ada, away).cookie.get_secret_value()
        open_session(session, ada, TESTER)
        session.exec(select(LoginSession)).all()[1].last_seen_at = now() - SESSION_IDLE * 2
        (row,) = sessions_of(session, ada)
        view = session_view(row, cookie=cookie)
        assert (view.address, view.is_current) == ("192.0.2.7", True)
        assert cookie not in view.model_dump_json()
        assert not session_view(row).is_current

    def test_all_can_be_ended_at_once(self, session: Session, ada: User) -> None:
        for _ in range(3):
            open_session(session, ada, TESTER)
        end_sessions(session, ada, TESTER)
        assert sessions_of(session, ada) == []
        event = session.exec(
            select(AuditEvent).where(AuditEvent.tag == Tag.LOGOUT_EVERYWHERE)
        ).one()
        assert event.details == {"sessions_ended": 3}


class TestTokens:
    def test_it_is_shown_once_and_stored_hashed(self, session: Session) -> None:
        token = create_api_token(session, name="ci", role=Role.DEPLOYER, actor=TESTER)
        value = token.get_secret_value()
        assert value.startswith("ks_")
        row = find_api_token(session, value)
        assert row is not None
        assert (row.name, row.role) == ("ci", Role.DEPLOYER)
        assert value not in row.hashed
        assert find_api_token(session, row.hashed) is None
        touch_api_token(session, row.id or 0)
        assert row.last_used_at is not None

    def test_a_revoked_one_is_worthless_and_its_name_is_free(self, session: Session) -> None:
        old = create_api_token(session, name="ci", role=Role.ADMIN, actor=TESTER).get_secret_value()
        with pytest.raises(ConflictError, match="revoke it first"):
            create_api_token(session, name="ci", role=Role.ADMIN, actor=TESTER)
        revoke_api_token(session, "ci", TESTER)
        row = find_api_token(session, old)
        assert row is not None
        assert api_token_state(row) is TokenState.REVOKED
        with pytest.raises(NotFoundError):
            revoke_api_token(session, "ci", TESTER)
        create_api_token(session, name="ci", role=Role.ADMIN, actor=TESTER)
        assert find_api_token(session, old) is None
        assert len(session.exec(select(ApiToken)).all()) == 1

    @pytest.mark.parametrize(("days", "state"), [(1, "active"), (-1, "expired"), (None, "active")])
    def test_it_ends_by_itself(self, session: Session, days: int | None, state: str) -> None:
        token = create_api_token(session, name="ci", role=Role.ADMIN, actor=TESTER)
        row = find_api_token(session, token.get_secret_value())
        assert row is not None
        # One without an end was made by an older version.
        row.expires_at = None if days is None else now() + timedelta(days=days)
        assert api_token_state(row) == state

    def test_it_lasts_a_year_unless_somebody_says_else(self, session: Session) -> None:
        for name, days in (("a", DEFAULT_DAYS), ("b", 90)):
            value = create_api_token(session, name=name, role=Role.ADMIN, actor=TESTER, days=days)
            row = find_api_token(session, value.get_secret_value())
            assert row is not None
            assert row.expires_at is not None
            assert abs(row.expires_at - now() - timedelta(days=days)) < timedelta(minutes=1)
        assert DEFAULT_DAYS == 365

    @pytest.mark.parametrize("days", [0, -1, LONGEST_DAYS + 1])
    def test_for_ever_is_too_long(self, session: Session, days: int) -> None:
        with pytest.raises(ConfigurationError, match="1 to 3650 days"):
            create_api_token(session, name="ci", role=Role.ADMIN, actor=TESTER, days=days)

    def test_the_name_of_one_that_ended_is_free(self, session: Session) -> None:
        create_api_token(session, name="ci", role=Role.ADMIN, actor=TESTER)
        session.exec(select(ApiToken)).one().expires_at = now() - timedelta(seconds=1)
        session.flush()
        create_api_token(session, name="ci", role=Role.VIEWER, actor=TESTER)
        assert session.exec(select(ApiToken.role)).all() == [Role.VIEWER]


class TestAPasswordThatIsBeingChecked:
    """Checking takes a fifth of a second, in which somebody else may act."""

    @pytest.fixture
    def checked(self, session: Session) -> User:
        """The user as she was when the check began."""
        made = add_user(session, name="eve", role=Role.VIEWER, password=PASSWORD, actor=TESTER)
        session.flush()
        return User.model_validate(made.model_dump())

    def test_nothing_happened(self, session: Session, checked: User) -> None:
        assert is_as_it_was(session, checked)

    def test_the_password_was_changed(self, session: Session, checked: User) -> None:
        set_password(session, "eve", SecretStr("another horse"), TESTER)
        assert not is_as_it_was(session, checked)

    def test_the_user_was_disabled(self, session: Session, checked: User) -> None:
        change_user(session, "eve", role=None, disabled=True, actor=TESTER)
        assert not is_as_it_was(session, checked)

    def test_the_user_was_removed(self, session: Session, checked: User) -> None:
        add_user(session, name="root", role=Role.ADMIN, password=PASSWORD, actor=TESTER)
        remove_user(session, "eve", TESTER)
        assert not is_as_it_was(session, checked)


def test_a_password_may_be_hashed_before_the_transaction(session: Session) -> None:
    hashed = hash_password("eve", PASSWORD)
    user = add_user(session, name="eve", role=Role.VIEWER, password=hashed, actor=TESTER)
    assert user.password_hash == hashed.text
    assert check_password(user, PASSWORD)
