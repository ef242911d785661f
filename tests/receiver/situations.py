"""Everybody who may stand at the door, each made anew by the product's own functions."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from sqlmodel import select

from jobs.reads.people import SESSION_IDLE, SESSION_LONGEST
from jobs.records.logins import OpenedSession, end_sessions
from jobs.records.tokens import find_api_token, revoke_api_token
from jobs.records.users import change_user, find_user, remove_user
from jobs.states import Role
from jobs.storage.models import LoginSession, now
from receiver.access import CSRF_HEADER
from tests.builders import TESTER, WebRuntime, cookie_name, make_session, make_token

Headers = dict[str, str]
MINUTE = timedelta(minutes=1)
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Situation:
    """Somebody who asks, and what they may be taken for."""

    arrive: Callable[[WebRuntime], Headers]
    role: Role | None = None  # None: nobody known
    is_tricked: bool = False  # a browser that another page made to ask


# --- Programs --------------------------------------------------------------------------------


def program(role: Role = Role.ADMIN) -> Callable[[WebRuntime], Headers]:
    """Come with a token that works."""

    def arrive(runtime: WebRuntime) -> Headers:
        return _bearer(make_token(runtime, name=f"program-{next(NUMBERS)}", role=role))

    return arrive


def program_with_revoked_token(runtime: WebRuntime) -> Headers:
    """Come with a token that was an admin's."""
    name = f"revoked-{next(NUMBERS)}"
    token = make_token(runtime, name=name, role=Role.ADMIN)
    with runtime.database.writing() as session:
        revoke_api_token(session, name, TESTER)
    return _bearer(token)


def program_with_expired_token(runtime: WebRuntime) -> Headers:
    """Come with an admin's token a second too late."""
    token = make_token(runtime, name=f"expired-{next(NUMBERS)}", role=Role.ADMIN)
    with runtime.database.writing() as session:
        row = find_api_token(session, token)
        assert row is not None
        row.expires_at = now() - timedelta(seconds=1)
    return _bearer(token)


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


# --- People ----------------------------------------------------------------------------------


def person(
    role: Role = Role.ADMIN, changed: Mapping[str, str] = MappingProxyType({})
) -> Callable[[WebRuntime], Headers]:
    """Come with a browser from our own page, its headers changed; an empty one is left out."""

    def arrive(runtime: WebRuntime) -> Headers:
        _, opened = _log_in(runtime, role)
        headers = {**_browser(runtime, opened), **changed}
        return {name: value for name, value in headers.items() if value}

    return arrive


def person_whose_session_is(**ages: timedelta) -> Callable[[WebRuntime], Headers]:
    """Come with a session whose times lie so far back."""

    def arrive(runtime: WebRuntime) -> Headers:
        name, opened = _log_in(runtime)
        with runtime.database.writing() as session:
            owner = find_user(session, name).id
            row = session.exec(select(LoginSession).where(LoginSession.user_id == owner)).one()
            for column, age in ages.items():
                setattr(row, column, now() - age)
        return _browser(runtime, opened)

    return arrive


def person_with_the_csrf_token_of_another(runtime: WebRuntime) -> Headers:
    """Come with one's own session and somebody else's CSRF token."""
    _, other = _log_in(runtime)
    _, opened = _log_in(runtime)
    return _browser(runtime, opened) | {CSRF_HEADER: other.csrf_token}


def person_with_made_up_session(runtime: WebRuntime) -> Headers:
    """Come with a session that nobody has opened."""
    return {"Cookie": f"{cookie_name(runtime)}=made-up"}


def person_who_is_disabled(runtime: WebRuntime) -> Headers:
    """Come with the session one had when one was shut out."""
    name, opened = _log_in(runtime)
    _log_in(runtime)  # somebody has to stay admin
    with runtime.database.writing() as session:
        change_user(session, name, role=None, disabled=True, actor=TESTER)
    return _browser(runtime, opened)


def person_who_was_removed(runtime: WebRuntime) -> Headers:
    """Come with the session of a user who is not any more."""
    name, opened = _log_in(runtime)
    _log_in(runtime)
    with runtime.database.writing() as session:
        remove_user(session, name, TESTER)
    return _browser(runtime, opened)


def person_who_was_demoted(runtime: WebRuntime) -> Headers:
    """Come with a session that was opened as an admin."""
    name, opened = _log_in(runtime)
    _log_in(runtime)
    with runtime.database.writing() as session:
        change_user(session, name, role=Role.VIEWER, disabled=None, actor=TESTER)
    return _browser(runtime, opened)


def person_who_was_logged_out(runtime: WebRuntime) -> Headers:
    """Come with a session that was ended from elsewhere."""
    name, opened = _log_in(runtime)
    with runtime.database.writing() as session:
        end_sessions(session, find_user(session, name), TESTER)
    return _browser(runtime, opened)


def _log_in(runtime: WebRuntime, role: Role = Role.ADMIN) -> tuple[str, OpenedSession]:
    name = f"person-{next(NUMBERS)}"
    return name, make_session(runtime, name=name, role=role)


def _browser(runtime: WebRuntime, opened: OpenedSession) -> Headers:
    return {
        "cookie": f"{cookie_name(runtime)}={opened.cookie.get_secret_value()}",
        CSRF_HEADER: opened.csrf_token,
        "origin": "http://testserver",
        "sec-fetch-site": "same-origin",
    }


# --- All of them -----------------------------------------------------------------------------


def _tricked(**headers: str) -> Situation:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Situation(person(Role.ADMIN, changed), Role.ADMIN, is_tricked=True)


OLD_BROWSER = {"origin": "", "sec-fetch-site": ""}
SITUATIONS: Mapping[str, Situation] = {
    "a stranger": Situation(lambda _runtime: {}),
    "a made-up token": Situation(lambda _runtime: {"Authorization": "Bearer ks_made-up"}),
    "a made-up session": Situation(person_with_made_up_session),
    "a revoked token": Situation(program_with_revoked_token),
    "an expired token": Situation(program_with_expired_token),
    "an idle session": Situation(person_whose_session_is(last_seen_at=SESSION_IDLE + MINUTE)),
    "an old session": Situation(person_whose_session_is(created_at=SESSION_LONGEST + MINUTE)),
    "an ended session": Situation(person_who_was_logged_out),
    "a disabled user": Situation(person_who_is_disabled),
    "a removed user": Situation(person_who_was_removed),
    "a demoted user": Situation(person_who_was_demoted, Role.VIEWER),
    "a program that reads": Situation(program(Role.VIEWER), Role.VIEWER),
    "a program that deploys": Situation(program(Role.DEPLOYER), Role.DEPLOYER),
    "a program that configures": Situation(program(Role.ADMIN), Role.ADMIN),
    "a viewer": Situation(person(Role.VIEWER), Role.VIEWER),
    "a deployer": Situation(person(Role.DEPLOYER), Role.DEPLOYER),
    "an admin": Situation(person(Role.ADMIN), Role.ADMIN),
    "an old browser": Situation(person(Role.ADMIN, OLD_BROWSER), Role.ADMIN),
    "no CSRF token": _tricked(x_csrf_token=""),
    "a guessed CSRF token": _tricked(x_csrf_token="guessed"),
    "another's CSRF token": Situation(
        person_with_the_csrf_token_of_another, Role.ADMIN, is_tricked=True
    ),
    "another site": _tricked(sec_fetch_site="cross-site"),
    "a neighbouring site": _tricked(sec_fetch_site="same-site"),
    "another origin": _tricked(origin="https://elsewhere.example"),
    "our host's other port": _tricked(origin="http://testserver:8443"),
    "a hidden origin": _tricked(origin="null"),
}
