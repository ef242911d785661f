"""A form that could not be taken, since nobody knows who sends it: what was typed is not lost.

The page knows no visitor and asks no database. It shows only what the same browser has just sent,
and its button leads back to the form, which is then drawn for whoever has logged in meanwhile.
Nothing is done by itself: the form is looked at, and sent again by hand.
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
    """Why a form could not be taken."""

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
    """Whether somebody has typed or chosen any of it."""
    return not FIELDS.keys().isdisjoint(texts)


def show(request: Request, texts: Texts, reason: Reason) -> Response:
    """Show what was sent, without its secrets."""
    kept = {name: text for name, text in texts.items() if not _is_secret(name, texts)}
    # The token of a session that is over is of no use, and another one is not known yet.
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
    return "yes" if FIELDS[name].kind is Kind.SWITCH else text
