"""The list of all certificates, for admins; Keystone's own address comes first."""

from starlette.requests import Request
from starlette.responses import Response

from dashboard import page_reads, rendering
from dashboard.forms import UNTOUCHED, Filled
from dashboard.pages.app_settings import CERTIFICATE, KEY


def show(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show each certificate with the end of its validity, and the forms to change it."""
    settings = rendering.settings_of(request)
    with rendering.database_of(request).reading() as session:
        own, others = page_reads.all_certified(session, settings)
    return rendering.render(
        request,
        "settings/certificates.html",
        title="Certificates",
        status=filled.status,
        filled=filled,
        done=rendering.done_words(request),
        public_url=settings.public_url,
        own=own,
        others=others,
        certificate_field=CERTIFICATE,
        key_field=KEY,
    )
