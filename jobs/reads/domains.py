"""SELECTs about domains: their apps, the ports that the router serves, and certificates."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from jobs.reads.views import CertificateView
from jobs.rules.certificates import expiry_problem
from jobs.rules.domain_names import DEFAULT_PORTS, WILDCARD, host_header, is_covered
from jobs.storage.models import App, Certificate, Domain, DomainPort, now


@dataclass(frozen=True)
class Doors:
    """The ports and certificates with which the router serves domains."""

    ports: Mapping[str, int]  # the ports that the router listens on, by scheme
    certified: Collection[str]  # the domains with a certificate, including wildcards

    def url(self, domains: Sequence[str]) -> str:
        """Give the URL of the first domain that is no wildcard; "" if none is served."""
        name, scheme = self.first(domains)
        if not name or scheme not in self.ports:
            return ""
        port = self.ports[scheme]
        return (
            f"{scheme}://{name}" if port == DEFAULT_PORTS[scheme] else f"{scheme}://{name}:{port}"
        )

    def first(self, domains: Sequence[str]) -> tuple[str, str]:
        """Give the first domain that is no wildcard, or "", and the scheme of its visitors."""
        name = next((name for name in domains if not name.startswith(WILDCARD)), "")
        has_https = name and is_covered(name, self.certified) and "https" in self.ports
        return name, "https" if has_https else "http"


def find_doors(session: Session) -> Doors:
    """Read the router's ports for domains, and the domains with a certificate."""
    return Doors(
        ports={row.scheme: row.port for row in session.exec(select(DomainPort)).all()},
        certified=set(session.exec(select(Certificate.domain)).all()),
    )


def domains_by_app(session: Session, app_ids: Sequence[int | None]) -> dict[int, list[str]]:
    """Give the domains of these apps, each app's address first."""
    statement = select(Domain.app_id, Domain.name).order_by(col(Domain.id))
    if len(app_ids) == 1:
        statement = statement.where(Domain.app_id == app_ids[0])
    found: dict[int, list[str]] = defaultdict(list)
    for app_id, name in session.exec(statement).all():
        found[app_id].append(name)
    return found


def domain_targets(session: Session) -> dict[str, int]:
    """Give the host port of each domain's app, by domain."""
    statement = select(Domain.name, App.host_port).join(App, col(App.id) == Domain.app_id)
    return dict(session.exec(statement).all())


def certificate_views(session: Session, *, public_url: str = "") -> list[CertificateView]:
    """Describe every certificate, by domain.

    Args:
        public_url: the URL of Keystone's own address.
    """
    own_host = host_header(public_url)
    statement = select(Domain.name, App.name).join(App, col(App.id) == Domain.app_id)
    apps = dict(session.exec(statement).all())
    # Not the sealed keys.
    dates = (col(Certificate.not_before), Certificate.not_after, Certificate.created_at)
    rows = session.exec(select(Certificate.domain, *dates).order_by(Certificate.domain)).all()
    return [
        CertificateView(
            domain=domain,
            app=apps.get(domain),
            is_keystone=bool(own_host) and is_covered(own_host, [domain]),
            not_after=not_after,
            problem=expiry_problem(not_after, now(), not_before=not_before),
            created_at=created_at,
        )
        for domain, not_before, not_after, created_at in rows
    ]
