"""The page that keeps the texts of a form that could not be accepted.

That happens without a valid session, or without the database. So the page needs neither a visitor
nor the database: it shows only what the same browser has just sent. Its button leads back to the
form, which is then drawn for the user who has logged in meanwhile. Nothing is sent automatically:
the user checks the form and sends it again.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from dashboard import rendering
from dashboard.app_fields import NEW_APP
from dashboard.forms import Field, Kind, Texts, has_secrets
from dashboard.pages import app_settings, people

FIELDS: dict[str, Field] = {
    one.name: one
    for one in (
        *NEW_APP,
        *app_settings.SET_VARIABLE,
        *app_settings.IMPORT_VARIABLES,
        *app_settings.SET_CERTIFICATE,
        app_settings.OVERLAP,
        app_settings.GITHUB_ID,
        app_settings.CONFIRM,
        *people.NEW_USER,
        *people.NEW_TOKEN,
        *people.OWN_PASSWORD,
    )
}


@dataclass(frozen=True)
class Reason:
    """Why a form could not be accepted."""

    status: int
    heading: str
    what_to_do: str
    is_stranger: bool = False


NOT_LOGGED_IN = Reason(
    401,
    "Your session is over",
    "Nothing was changed, and what you typed is kept on this page. Log in in another tab, come "
    "back here, and go back to the form to send it again.",
    is_stranger=True,
)
NO_DATABASE = Reason(
    503,
    "The database does not answer",
    "Nothing was changed, and what you typed is kept on this page. Wait a moment, and go back to "
    "the form to send it again.",
)


def is_worth_keeping(texts: Texts) -> bool:
    """Whether the form has any text that the user typed or chose."""
    return not FIELDS.keys().isdisjoint(texts)


def show(request: Request, texts: Texts, reason: Reason) -> Response:
    """Show the texts of the form, without its secrets."""
    kept = {name: text for name, text in texts.items() if not _is_secret(name, texts)}
    # Drop the CSRF token: that of an ended session is useless, and the new one is not known yet.
    kept.pop("csrf_token", None)
    return rendering.render(
        request,
        "settings/kept.html",
        title=reason.heading,
        status=reason.status,
        reason=reason,
        kept=kept,
        shown=[(FIELDS[name].label, _said(name, kept[name])) for name in kept if name in FIELDS],
        is_forgetful=has_secrets(list(FIELDS.values()), texts),
    )


def _is_secret(name: str, texts: Texts) -> bool:
    return name in FIELDS and FIELDS[name].is_secret(texts)


def _said(name: str, text: str) -> str:
    one = FIELDS[name]
    return "yes" if one.kind is Kind.SWITCH else dict(one.choices).get(text, text)
