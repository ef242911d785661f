"""An app's settings, for admins: configuration, variables, domains, repository, removal.

The forms post to the same address; the receiver draws the page again when it refuses a form.
"""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import labels, page_reads, rendering
from dashboard.app_fields import CONFIGURATION, DOMAINS, SECTIONS, TOKEN
from dashboard.forms import UNTOUCHED, Field, Filled, Kind, text_of
from jobs.reads import apps
from jobs.reads.repositories import repository_view
from jobs.reads.views import AppView
from jobs.settings import Settings, WebSettings
from jobs.storage.models import now

PARTS = (
    ("", "Configuration"),
    ("/variables", "Variables"),
    ("/domains", "Domains"),
    ("/repository", "Repository"),
    ("/remove", "Remove"),
)

VARIABLE = Field("variable", "Name", hint="Letters, digits and _ . - : [ ]")
VALUE = Field(
    "value",
    "Value",
    Kind.MASKED_TEXT,
    hint="Write-only here; may have several lines",
    secret_unless="secret",  # noqa: S106 — the name of a field
)
IS_SECRET = Field(
    "secret",
    "Kind",
    Kind.CHOICE,
    hint="Logs and the API hide the value of a secret. Automatic: a new variable is a secret if "
    "its name says so (KEY, TOKEN, PASSWORD …) or if its value has a password in a URL",
    may_be_none=True,
    choices=(
        ("", "Automatic"),
        ("false", "Plain"),
        ("true", "Secret"),
    ),
)
SET_VARIABLE = (VARIABLE, VALUE, IS_SECRET)
ENV_FILE = Field(
    "text",
    "Content of a .env file",
    Kind.MASKED_TEXT,
    hint="One NAME=value per line; if one line is wrong, nothing is set",
    secret_unless="secret",  # noqa: S106 — the name of a field
)
IMPORT_VARIABLES = (ENV_FILE, IS_SECRET)

DOMAIN = Field("domain", "Domain")
CERTIFICATE = Field(
    "certificate", "Certificate (PEM)", Kind.TEXT, hint="The domain's, then those it depends on"
)
KEY = Field("key", "Key (PEM)", Kind.SECRET_TEXT, hint="Without a passphrase; write-only")
SET_CERTIFICATE = (DOMAIN, CERTIFICATE, KEY)

OVERLAP = Field(
    "overlap_hours",
    "Hours in which the old secret verifies as well",
    Kind.NUMBER,
    hint="0: it ends at once, since somebody else knows it",
    start="24",
)
GITHUB_ID = Field(
    "github_id",
    "GitHub's id",
    Kind.NUMBER,
    hint="The `id` of GET /repos/{owner}/{name} of GitHub's API, for where Keystone may not ask it",
)
CONFIRM = Field("confirm", "Type the app's name to confirm")


def configuration(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the app's configuration in one form."""
    with rendering.database_of(request).reading() as session:
        app = _app(session, request)
    present = {one.name: text_of(getattr(app, one.name)) for one in CONFIGURATION}
    return _draw(request, filled, "configuration", app, {"sections": SECTIONS, "present": present})


def variables(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the names of the app's variables; their values are write-only here."""
    with rendering.database_of(request).reading() as session:
        app = _app(session, request)
        names = page_reads.variable_names(session, app.id)
    values = {"variables": names, "fields": SET_VARIABLE, "import_fields": IMPORT_VARIABLES}
    return _draw(request, filled, "variables", app, values)


def domains(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the app's domains, and their certificates with the ends of validity."""
    with rendering.database_of(request).reading() as session:
        app = _app(session, request)
        served = page_reads.served_domains(session, app)
    values = {
        "domains_field": DOMAINS,
        "present": text_of(app.domains),
        "domains": served,
        "certificate_field": CERTIFICATE,
        "key_field": KEY,
    }
    return _draw(request, filled, "domains", app, values)


def repository(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the state of the repository's token and webhook, with forms to renew them."""
    with rendering.database_of(request).reading() as session:
        app = _app(session, request)
        found = repository_view(session, app.repository_id)
    until = found.webhook_secret.previous_until
    values = {
        "repository": found,
        "previous_for": labels.waited(now(), until) if until else "",
        "token_field": TOKEN,
        "overlap_field": OVERLAP,
        "github_id_field": GITHUB_ID,
        "has_fallback": _has_fallback(rendering.settings_of(request)),
    }
    return _draw(request, filled, "repository", app, values)


def new_secret(request: Request, *, url: str, secret: str) -> Response:
    """Show a repository's new webhook secret, which is shown only once."""
    with rendering.database_of(request).reading() as session:
        app = _app(session, request)
    return _draw(request, UNTOUCHED, "secret", app, {"url": url, "secret": secret})


def remove(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Ask for confirmation before removing the app, and say what else that removes."""
    with rendering.database_of(request).reading() as session:
        app = _app(session, request)
        is_last = repository_view(session, app.repository_id).apps == [app.name]
    return _draw(request, filled, "remove", app, {"confirm": CONFIRM, "is_last": is_last})


def _app(session: Session, request: Request) -> AppView:
    return apps.app_view(session, request.path_params["app"], rendering.settings_of(request))


def _has_fallback(settings: Settings) -> bool:
    """Whether KEYSTONE_WEBHOOK_SECRET is set; its value never reaches a page."""
    return isinstance(settings, WebSettings) and bool(settings.webhook_secret.get_secret_value())


def _draw(
    request: Request, filled: Filled, part: str, app: AppView, values: Mapping[str, Any]
) -> Response:
    return rendering.render(
        request,
        f"settings/{part}.html",
        title=f"{app.name}: settings",
        status=filled.status,
        app=app,
        base=f"/apps/{app.name}/settings",
        parts=PARTS,
        filled=filled,
        done=rendering.done_words(request),
        **values,
    )
