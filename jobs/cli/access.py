"""`keystone user` and `keystone token`: manage users, their roles, and API tokens."""

import re
from typing import Annotated

import typer
from pydantic import BaseModel

from jobs.cli.console import (
    AsJson,
    Removed,
    actor,
    ask_secret,
    open_to_change,
    open_to_read,
    show_done,
    show_json,
    show_table,
)
from jobs.cli.output import say
from jobs.errors import ConfigurationError, Mistake
from jobs.reads.account_views import SessionView, TokenView, UserView
from jobs.reads.people import api_token_view, sessions_of, tokens, user_view, users
from jobs.reads.views import Page
from jobs.records.logins import end_sessions, session_view
from jobs.records.tokens import DEFAULT_DAYS, LONGEST_DAYS, create_api_token, revoke_api_token
from jobs.records.users import add_user, change_user, find_user, remove_user, set_password
from jobs.states import Role, TokenState

commands = typer.Typer(rich_markup_mode=None)
user = typer.Typer(no_args_is_help=True)
token = typer.Typer(no_args_is_help=True)
commands.add_typer(user, name="user", help="Add, list, change and remove users who may log in.")
commands.add_typer(token, name="token", help="Create, list and revoke tokens for the API.")

DAYS = re.compile(r"([0-9]{1,4})d?")

Name = Annotated[str, typer.Argument(metavar="NAME")]
WithRole = Annotated[
    Role, typer.Option("--role", help="viewer reads, deployer deploys, admin all.")
]
Expires = Annotated[
    str, typer.Option("--expires", metavar="DAYS", help=f"Like 90d; at most {LONGEST_DAYS}d.")
]


class NewToken(BaseModel):
    """A new token, which is shown only once."""

    token: str


class LoggedOut(BaseModel):
    """The user whose sessions were ended."""

    logged_out: str


# --- Users -----------------------------------------------------------------------------------


@user.command("add")
def add(name: Name, *, role: WithRole, as_json: AsJson = False) -> None:
    """Add a user; the password comes from a prompt or from standard input."""
    keystone = open_to_change()
    password = ask_secret("password", confirm=True)
    with keystone.database.writing() as session:
        made = add_user(session, name=name, role=role, password=password, actor=actor())
        session.flush()
        view = user_view(made)
    show_done(f"{name} may log in now, as {role}.", view, as_json=as_json)


@user.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """List the users."""
    with open_to_read().database.reading() as session:
        views = [user_view(row) for row in users(session)]
    if as_json:
        show_json(Page[UserView](items=views))
        return
    rows = [(v.name, v.role, "disabled" if v.disabled else "", v.created_at) for v in views]
    show_table(("User", "Role", "", "Since"), rows, empty="There are no users yet.")


@user.command("set-password")
def change_password(name: Name, *, as_json: AsJson = False) -> None:
    """Change a user's password, from a prompt or standard input, and end all sessions."""
    keystone = open_to_change()
    with keystone.database.reading() as session:
        find_user(session, name)
    password = ask_secret("password", confirm=True)
    with keystone.database.writing() as session:
        set_password(session, name, password, actor())
        view = user_view(find_user(session, name))
    told = f"The password of {name} is changed; {name} is logged out everywhere."
    show_done(told, view, as_json=as_json)


@user.command("set-role")
def set_role(name: Name, *, role: WithRole, as_json: AsJson = False) -> None:
    """Change a user's role, with immediate effect."""
    show_done(f"{name} is {role} now.", _change(name, role=role), as_json=as_json)


@user.command("disable")
def disable(name: Name, *, as_json: AsJson = False) -> None:
    """Forbid a user to log in, and end the user's sessions at once."""
    told = f"{name} is disabled, and logged out everywhere."
    show_done(told, _change(name, disabled=True), as_json=as_json)


@user.command("enable")
def enable(name: Name, *, as_json: AsJson = False) -> None:
    """Let a disabled user log in again."""
    show_done(f"{name} may log in again.", _change(name, disabled=False), as_json=as_json)


def _change(name: str, *, role: Role | None = None, disabled: bool | None = None) -> UserView:
    with open_to_change().database.writing() as session:
        return user_view(change_user(session, name, role=role, disabled=disabled, actor=actor()))


@user.command("sessions")
def list_sessions(name: Name, *, as_json: AsJson = False) -> None:
    """List a user's open sessions."""
    with open_to_read().database.reading() as session:
        views = [session_view(row) for row in sessions_of(session, find_user(session, name))]
    if as_json:
        show_json(Page[SessionView](items=views))
        return
    rows = [(v.id, v.address, v.created_at, v.last_seen_at) for v in views]
    show_table(("Session", "From", "Since", "Last seen"), rows, empty=f"{name} is not logged in.")


@user.command("log-out")
def log_out(name: Name, *, as_json: AsJson = False) -> None:
    """End all sessions of a user."""
    with open_to_change().database.writing() as session:
        end_sessions(session, find_user(session, name), actor())
    show_done(f"{name} is logged out everywhere.", LoggedOut(logged_out=name), as_json=as_json)


@user.command("remove")
def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Remove a user."""
    with open_to_change().database.writing() as session:
        remove_user(session, name, actor())
    show_done(f"{name} is removed.", Removed(removed=name), as_json=as_json)


# --- Tokens ----------------------------------------------------------------------------------


@token.command("create")
def create(
    name: Name, *, role: WithRole, expires: Expires = f"{DEFAULT_DAYS}d", as_json: AsJson = False
) -> None:
    """Create a token for the API, and show it once. It expires after --expires days."""
    days = _read_days(expires)
    with open_to_change().database.writing() as session:
        made = create_api_token(session, name=name, role=role, actor=actor(), days=days)
    if as_json:
        show_json(NewToken(token=made.get_secret_value()))
        return
    say(made.get_secret_value())
    say(
        f"Send it as `Authorization: Bearer TOKEN`. It is not shown again; it ends in {days} days.",
        err=True,
    )


def _read_days(text: str) -> int:
    found = DAYS.fullmatch(text)
    if found is None:
        raise ConfigurationError(Mistake("expires", "give a number of days, like 90d"))
    return int(found[1])


@token.command("list")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List the tokens, newest first, without their values."""
    with open_to_read().database.reading() as session:
        views = [api_token_view(row) for row in tokens(session)]
    if as_json:
        show_json(Page[TokenView](items=views))
        return
    rows = [
        (v.name, v.role, _ended(v.state), v.created_by, v.expires_at, v.last_used_at) for v in views
    ]
    columns = ("Token", "Role", "", "Created by", "Expires", "Last used")
    show_table(columns, rows, empty="There are no tokens yet; `keystone token create` makes one.")


def _ended(state: TokenState) -> str:
    return "" if state is TokenState.ACTIVE else state


@token.command("revoke")
def revoke(name: Name, *, as_json: AsJson = False) -> None:
    """Revoke a token, so that the API refuses it."""
    with open_to_change().database.writing() as session:
        view = api_token_view(revoke_api_token(session, name, actor()))
    show_done(f"{name} is revoked.", view, as_json=as_json)
