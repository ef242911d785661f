"""/api/certificates: the TLS certificates of domains. Keys are write-only."""

from jobs.errors import NotFoundError
from jobs.reads.domains import certificate_views
from jobs.reads.views import CertificateView, Page
from jobs.records.certificates import remove_certificate, set_certificate
from jobs.rules.certificates import read_bundle
from jobs.rules.domain_names import plain_domain
from jobs.states import Role
from jobs.storage.models import now
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import CertificateInput

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/certificates", needs=Role.VIEWER)
def list_certificates(call: Call[Nothing]) -> Page[CertificateView]:
    """List the certificates, by domain."""
    with call.reading() as session:
        views = certificate_views(session, public_url=call.settings.public_url)
        return Page[CertificateView](items=views)


@ENDPOINTS.add("PUT", "/api/certificates/{domain}", needs=Role.ADMIN)
def put_certificate(call: Call[CertificateInput]) -> CertificateView:
    """Set or replace a domain's certificate, without failing any request."""
    domain = _domain(call.request.path_params["domain"])
    certificate = call.given.certificate.encode()
    key = call.given.key.get_secret_value().encode()
    bundle = read_bundle(domain, certificate=certificate, key=key, at=now())
    with call.writing() as session:
        set_certificate(session, domain, bundle, call.actor, vault=call.runtime.vault)
        session.flush()
        views = certificate_views(session, public_url=call.settings.public_url)
        return next(view for view in views if view.domain == domain)


@ENDPOINTS.add("DELETE", "/api/certificates/{domain}", needs=Role.ADMIN)
def delete_certificate(call: Call[Nothing]) -> None:
    """Remove a domain's certificate; the domain is served by HTTP from then on."""
    with call.writing() as session:
        remove_certificate(session, _domain(call.request.path_params["domain"]), call.actor)


def _domain(text: str) -> str:
    try:
        return plain_domain(text)
    except ValueError:
        raise NotFoundError(f"{text[:60]!r} is not a domain") from None
