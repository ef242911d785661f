"""`keystone user` and `keystone token`: who may do what."""

from typing import Annotated

import typer
from pydantic import BaseModel

from jobs.cli.console import AsJson, actor, ask_secret, open_keystone, show_json, show_table
from jobs.models import ApiToken, User
from jobs.records.access import (
    add_user,
    create_token,
    find_user,
    remove_user,
    revoke_token,
    set_password,
    tokens,
    users,
)
from jobs.states import Role
from jobs.views import Page, TokenView, UserView

commands = typer.Typer(rich_markup_mode=None)
user = typer.Typer(no_args_is_help=True)
token = typer.Typer(no_args_is_help=True)
commands.add_typer(user, name="user", help="Add, list and remove people who may log in.")
commands.add_typer(token, name="token", help="Create, list and revoke tokens for the API.")

Name = Annotated[str, typer.Argument(metavar="NAME")]
WithRole = Annotated[
    Role, typer.Option("--role", help="viewer reads, deployer deploys, admin all.")
]


class NewToken(BaseModel):
    """A token at the one moment when it can be seen."""

    token: str


# --- Users -----------------------------------------------------------------------------------


@user.command("add")
def add(name: Name, *, role: WithRole) -> None:
    """Add a user; the password is asked for, or read from standard input."""
    password = ask_secret("password", confirm=True)
    with open_keystone().database.writing() as session:
        add_user(session, name=name, role=role, password=password, actor=actor())
    typer.echo(f"{name} may log in now, as {role}.")


@user.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """List the users."""
    with open_keystone().database.reading() as session:
        views = [user_view(row) for row in users(session)]
    if as_json:
        show_json(Page[UserView](items=views))
        return
    rows = [(v.name, v.role, "disabled" if v.disabled else "", v.created_at) for v in views]
    show_table(("User", "Role", "", "Since"), rows, empty="There are no users yet.")


def user_view(row: User) -> UserView:
    """Describe a user."""
    return UserView.model_validate(row.model_dump() | {"disabled": row.disabled_at is not None})


@user.command("set-password")
def change_password(name: Name) -> None:
    """Change a user's password, asked for or read from standard input, and end all sessions."""
    keystone = open_keystone()
    with keystone.database.reading() as session:
        find_user(session, name)
    password = ask_secret("password", confirm=True)
    with keystone.database.writing() as session:
        set_password(session, name, password, actor())
    typer.echo(f"The password of {name} is changed; {name} is logged out everywhere.")


@user.command("remove")
def remove(name: Name) -> None:
    """Remove a user."""
    with open_keystone().database.writing() as session:
        remove_user(session, name, actor())
    typer.echo(f"{name} is removed.")


# --- Tokens ----------------------------------------------------------------------------------


@token.command("create")
def create(name: Name, *, role: WithRole, as_json: AsJson = False) -> None:
    """Create a token for the API, and show it this once."""
    with open_keystone().database.writing() as session:
        made = create_token(session, name=name, role=role, actor=actor())
    if as_json:
        show_json(NewToken(token=made.get_secret_value()))
        return
    typer.echo(made.get_secret_value())
    typer.echo("Send it as `Authorization: Bearer TOKEN`. It is not shown again.", err=True)


@token.command("list")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List the tokens, newest first, without the secret part."""
    with open_keystone().database.reading() as session:
        views = [token_view(row) for row in tokens(session)]
    if as_json:
        show_json(Page[TokenView](items=views))
        return
    rows = [
        (v.name, v.role, "revoked" if v.revoked_at else "", v.created_by, v.last_used_at)
        for v in views
    ]
    columns = ("Token", "Role", "", "Created by", "Last used")
    show_table(columns, rows, empty="There are no tokens yet; `keystone token create` makes one.")


def token_view(row: ApiToken) -> TokenView:
    """Describe a token."""
    return TokenView.model_validate(row.model_dump())


@token.command("revoke")
def revoke(name: Name) -> None:
    """Make a token worthless."""
    with open_keystone().database.writing() as session:
        revoke_token(session, name, actor())
    typer.echo(f"{name} is revoked.")
