"""The addresses of people and programs themselves: coming in, accounts, users and tokens."""

from jobs.reads.views import AccountView, Page, SessionView, TokenView, UserView
from jobs.states import Role
from receiver.access import Door
from receiver.api import account, tokens, users
from receiver.routing import Endpoint
from receiver.schemas import (
    CreatedTokenView,
    LoggedInView,
    LoginInput,
    LogoutInput,
    PasswordInput,
    TokenInput,
    UserChange,
    UserInput,
)
from receiver.sessions import log_in, log_out

ANYONE, VIEWER, ADMIN = Door.ANYONE, Role.VIEWER, Role.ADMIN

PEOPLE = (
    Endpoint(
        "POST",
        "/login",
        log_in,
        needs=ANYONE,
        takes=LoginInput,
        gives=LoggedInView,
        also=(303,),
        errors=(401, 403, 429, 503),
    ),
    Endpoint("POST", "/logout", log_out, needs=VIEWER, takes=LogoutInput, status=204, also=(303,)),
    Endpoint("GET", "/api/account", account.show_account, needs=VIEWER, gives=AccountView),
    Endpoint(
        "POST",
        "/api/account/password",
        account.change_own_password,
        needs=VIEWER,
        takes=PasswordInput,
        status=204,
        also=(303,),
        errors=(429,),
    ),
    Endpoint("GET", "/api/users", users.list_users, needs=ADMIN, gives=Page[UserView]),
    Endpoint(
        "POST",
        "/api/users",
        users.create_user,
        needs=ADMIN,
        takes=UserInput,
        gives=UserView,
        status=201,
        errors=(409,),
    ),
    Endpoint(
        "PATCH",
        "/api/users/{name}",
        users.update_user,
        needs=ADMIN,
        takes=UserChange,
        gives=UserView,
        errors=(409,),
    ),
    Endpoint(
        "DELETE", "/api/users/{name}", users.delete_user, needs=ADMIN, status=204, errors=(409,)
    ),
    Endpoint(
        "GET",
        "/api/users/{name}/sessions",
        users.list_sessions,
        needs=ADMIN,
        gives=Page[SessionView],
    ),
    Endpoint(
        "DELETE", "/api/users/{name}/sessions", users.delete_sessions, needs=ADMIN, status=204
    ),
    Endpoint("GET", "/api/tokens", tokens.list_tokens, needs=ADMIN, gives=Page[TokenView]),
    Endpoint(
        "POST",
        "/api/tokens",
        tokens.make_token,
        needs=ADMIN,
        takes=TokenInput,
        gives=CreatedTokenView,
        status=201,
        errors=(409,),
    ),
    Endpoint("DELETE", "/api/tokens/{name}", tokens.delete_token, needs=ADMIN, status=204),
)
