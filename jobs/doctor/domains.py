"""Checks for `keystone doctor` whether the apps' domains are served, and their certificates."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from jobs.doctor.reading import reading
from jobs.errors import KeystoneError
from jobs.processes.router_server import obstacle, wanted_ports
from jobs.processes.router_service import own_ports
from jobs.reads.domains import certificate_views, domain_targets, find_doors
from jobs.reads.views import CertificateView
from jobs.rules.findings import Finding, Verdict
from jobs.settings import Settings


@dataclass(frozen=True)
class _Known:
    """The domains in the database; empty when it cannot be read."""

    served: Mapping[str, int] = field(default_factory=dict)  # the router's ports, by scheme
    domains: Collection[str] = ()
    certificates: Sequence[CertificateView] = ()


def check_domains(settings: Settings, *, up: bool) -> list[Finding]:
    """Check the ports of the domains, and the certificates."""
    try:
        with reading(settings) as session:
            served = find_doors(session).ports
            known = _Known(served, domain_targets(session), certificate_views(session))
    except (KeystoneError, SQLAlchemyError):
        # Another finding reports an unusable database.
        known = _Known()
    return [_domain_ports(settings, known, up=up), _certificates(known)]


def _domain_ports(settings: Settings, known: _Known, *, up: bool) -> Finding:
    name, wanted = "domain ports", wanted_ports(settings)
    if not wanted:
        found = "off: KEYSTONE_HTTP_PORT and KEYSTONE_HTTPS_PORT are 0"
        return Finding(name, Verdict.IDLE, found)
    try:
        reasons = _left_out(settings, wanted, known.served if up else None)
    except KeystoneError as exc:
        return Finding(name, Verdict.FAILED, str(exc), "correct KEYSTONE_DOMAIN_BIND")
    if not reasons:
        told = ", ".join(f"{scheme} on {port}" for scheme, port in wanted.items())
        return Finding(name, Verdict.OK, f"{settings.domain_bind}, {told}")
    if not known.domains:
        return Finding(name, Verdict.IDLE, f"{reasons}; no app has a domain yet")
    fix = (
        "free that port (or allow it: sysctl net.ipv4.ip_unprivileged_port_start=80) and start "
        "Keystone again, or set KEYSTONE_HTTP_PORT and KEYSTONE_HTTPS_PORT"
    )
    return Finding(name, Verdict.FAILED, reasons, fix)


def _left_out(
    settings: Settings, wanted: Mapping[str, int], served: Mapping[str, int] | None
) -> str:
    """Describe the ports that the router left out at its start, or would leave out if started now.

    Args:
        served: the ports that the running router listens on, by scheme; None: it does not run.
    """
    if served is not None:
        missing = [str(port) for scheme, port in wanted.items() if served.get(scheme) != port]
        told = f"the router could not listen on port {' and '.join(missing)} when it was started"
        return told if missing else ""
    own = own_ports(settings)  # the router may run without Keystone
    reasons = (obstacle(settings.domain_bind, port) for port in wanted.values() if port not in own)
    return ", ".join(reason for reason in reasons if reason)


def _certificates(known: _Known) -> Finding:
    problems = [f"{view.domain} {view.problem}" for view in known.certificates if view.problem]
    if problems:
        fix = "get a new one, then `keystone certificate set`"
        return Finding("certificates", Verdict.FAILED, ", ".join(problems), fix)
    return Finding("certificates", Verdict.OK, f"{len(known.certificates)}, none about to expire")
