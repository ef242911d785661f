"""The forms of the settings pages: the API function that each form calls, and its answer."""

from dataclasses import replace
from typing import Any

from starlette.responses import RedirectResponse, Response

from dashboard import app_fields
from dashboard.forms import Field
from dashboard.pages import app_settings, new_app, people
from dashboard.pages import certificates as certificates_page
from dashboard.pages import repositories as repositories_page
from jobs.errors import ConfigurationError, Mistake
from jobs.reads.apps import app_view
from jobs.reads.people import user_view
from jobs.reads.views import (
    AppView,
    ImportedVariablesView,
    NewWebhookSecretView,
    RemovedView,
    SetVariableView,
    UserView,
)
from jobs.records.users import find_user
from jobs.rules.app_fields import AppChange, AppInput
from jobs.states import Role
from receiver.api import (
    account,
    apps,
    certificates,
    environment,
    hooks,
    repositories,
    tokens,
    users,
)
from receiver.page_forms import Sheet, page_of_sheets
from receiver.routing import Call, Handler, Nothing
from receiver.schemas import (
    CertificateInput,
    CreatedTokenView,
    OverlapInput,
    PasswordInput,
    RepositoryChange,
    RepositoryTokenInput,
    TokenInput,
    UserChange,
    UserInput,
    VariableInput,
    VariablesInput,
)

OF_APP = "/apps/{app}/settings"
NAME, ID, DOMAIN, VARIABLE = "name", "id", "domain", "variable"


# --- What differs from the API's functions ---------------------------------------------------


def save_changes(call: Call[AppChange]) -> AppView:
    """Change only the fields whose values differ from the stored ones.

    A form without the hidden field of drawn values sends every field, and two people may make the
    same change. The audit trail must not record the second one's change of nothing.
    """
    given = call.given.given()
    app = _app(call)
    changed = {name for name, value in given.items() if value != getattr(app, name)}
    if not changed:
        return app
    change = AppChange.model_validate(call.given.model_dump(include=changed))
    return apps.update_app(Call(call.request, call.visitor, change))


def _app(call: Call[Any]) -> AppView:
    with call.reading() as session:
        return app_view(session, call.name(), call.settings)


def _user(call: Call[Any]) -> UserView:
    with call.reading() as session:
        return user_view(find_user(session, call.name()))


def remove_confirmed(call: Call[Any]) -> RemovedView:
    """Remove the app if the user typed its name.

    Raises:
        ConfigurationError: the user typed another name.
    """
    if call.request.path_params["confirm"] != call.name():
        raise ConfigurationError(Mistake("confirm", f"type {call.name()}, the name of the app"))
    return apps.delete_app(call)


# --- Answers after success -------------------------------------------------------------------


def _added(call: Call[Any], created: Response) -> Response:
    return new_app.show_added(call.request, AppView.model_validate_json(bytes(created.body)))


def _new_secret(call: Call[Any], made: NewWebhookSecretView) -> Response:
    return app_settings.new_secret(call.request, url=made.url, secret=made.secret)


def _new_token(call: Call[Any], made: CreatedTokenView) -> Response:
    return people.show_token(call.request, name=made.name, value=made.token)


def _to_overview(_call: Call[Any], removed: RemovedView) -> Response:
    done = "remove-app-last" if removed.repository_removed else "remove-app"
    return RedirectResponse(f"/?done={done}", 303)


def _saved(call: Call[Any], app: AppView) -> Response:
    done = "save-moved" if app.notes else "save"
    return RedirectResponse(f"{call.request.url.path}?done={done}", 303)


def _variable_set(call: Call[Any], made: SetVariableView) -> Response:
    kind = "unmasked" if made.notes else "secret" if made.secret else "plain"
    return RedirectResponse(f"{call.request.url.path}?done=set-variable-{kind}", 303)


def _variables_imported(call: Call[Any], made: ImportedVariablesView) -> Response:
    done = f"import-variables{'-unmasked' if made.notes else ''}"
    return RedirectResponse(f"{call.request.url.path}?done={done}", 303)


def _back(call: Call[Any], _answer: Response) -> Response:
    return RedirectResponse(f"{call.request.url.path}?done=password", 303)


# --- The forms -------------------------------------------------------------------------------


def _of_user(act: Handler, *fields: Field, done: str = "change-user", **fixed: object) -> Sheet:
    takes = UserChange if fields or fixed else Nothing
    return Sheet(act, takes, fields, places=[NAME], fixed=fixed, subject=NAME, done=done)


CERTIFICATE_SHEETS = {
    "set-certificate": Sheet(
        certificates.put_certificate,
        CertificateInput,
        app_settings.SET_CERTIFICATE,
        places=[DOMAIN],
        subject=DOMAIN,
    ),
    "remove-certificate": Sheet(certificates.delete_certificate, places=[DOMAIN], subject=DOMAIN),
}
APP = (
    page_of_sheets(
        "/apps/new",
        new_app.show,
        {"add-app": Sheet(apps.create_app, AppInput, app_fields.NEW_APP, then=_added)},
    ),
    page_of_sheets(
        OF_APP,
        app_settings.configuration,
        {"save": Sheet(save_changes, AppChange, app_fields.CONFIGURATION, kept=_app, then=_saved)},
    ),
    page_of_sheets(
        f"{OF_APP}/variables",
        app_settings.variables,
        {
            "set-variable": Sheet(
                environment.set_variable,
                VariableInput,
                app_settings.SET_VARIABLE,
                places=[VARIABLE],
                then=_variable_set,
            ),
            "import-variables": Sheet(
                environment.import_variables,
                VariablesInput,
                app_settings.IMPORT_VARIABLES,
                then=_variables_imported,
            ),
            "unset-variable": Sheet(environment.unset_variable_of_app, places=[VARIABLE]),
        },
    ),
    page_of_sheets(
        f"{OF_APP}/domains",
        app_settings.domains,
        {
            "save": Sheet(save_changes, AppChange, [app_fields.DOMAINS], kept=_app),
            **CERTIFICATE_SHEETS,
        },
    ),
    page_of_sheets(
        f"{OF_APP}/repository",
        app_settings.repository,
        {
            "set-token": Sheet(
                repositories.put_token, RepositoryTokenInput, [app_fields.TOKEN], places=[ID]
            ),
            "remove-token": Sheet(
                repositories.put_token, RepositoryTokenInput, places=[ID], fixed={"token": ""}
            ),
            "set-github-id": Sheet(
                repositories.change_repository,
                RepositoryChange,
                [app_settings.GITHUB_ID],
                places=[ID],
            ),
            "forget-github-id": Sheet(
                repositories.change_repository,
                RepositoryChange,
                places=[ID],
                fixed={"github_id": None},
            ),
            "rotate-secret": Sheet(
                repositories.rotate_secret,
                OverlapInput,
                [app_settings.OVERLAP],
                places=[ID],
                then=_new_secret,
            ),
            "end-older": Sheet(repositories.end_older_secrets, places=[ID]),
            "drop-secret": Sheet(repositories.drop_secrets, places=[ID]),
            "install-hook": Sheet(hooks.install_hook),
        },
    ),
    page_of_sheets(
        f"{OF_APP}/remove",
        app_settings.remove,
        {
            "remove-app": Sheet(
                remove_confirmed,
                fields=[app_settings.CONFIRM],
                places=[app_settings.CONFIRM.name],
                then=_to_overview,
            )
        },
    ),
)
PEOPLE = (
    page_of_sheets(
        "/repositories",
        repositories_page.show,
        {"remove-repository": Sheet(repositories.delete_repository, places=[ID])},
    ),
    page_of_sheets("/certificates", certificates_page.show, CERTIFICATE_SHEETS),
    page_of_sheets(
        "/users",
        people.users,
        {
            "add-user": Sheet(users.create_user, UserInput, people.NEW_USER),
            "change-user": replace(_of_user(users.update_user, people.ROLE), kept=_user),
            "user-password": _of_user(users.update_user, people.PASSWORD),
            "disable-user": _of_user(users.update_user, disabled=True),
            "enable-user": _of_user(users.update_user, disabled=False),
            "log-out-user": _of_user(users.delete_sessions, done="log-out-user"),
            "remove-user": _of_user(users.delete_user, done="remove-user"),
        },
    ),
    page_of_sheets(
        "/tokens",
        people.tokens,
        {
            "add-token": Sheet(tokens.make_token, TokenInput, people.NEW_TOKEN, then=_new_token),
            "revoke-token": Sheet(tokens.delete_token, places=[NAME]),
        },
    ),
    page_of_sheets(
        "/account",
        people.account,
        {
            "password": Sheet(
                account.change_own_password, PasswordInput, people.OWN_PASSWORD, then=_back
            )
        },
        needs=Role.VIEWER,
    ),
)
SETTINGS_PAGES = (*APP, *PEOPLE)
