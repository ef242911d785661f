"""Checks for `keystone doctor` whether Keystone's own address leads through the router to it."""

import http.client
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from jobs.doctor.reading import reading
from jobs.errors import KeystoneError
from jobs.reads.apps import webhook_problem
from jobs.reads.domains import find_doors
from jobs.rules.domain_names import host_header, is_covered
from jobs.rules.findings import Finding, Verdict
from jobs.rules.ip_addresses import is_ip, reachable
from jobs.settings import Settings

NAME = "own address"
PATIENCE_S = 2.0
UNSERVED = "start Keystone again; a HAProxy of your own: `keystone router --write`, then reload it"


@dataclass(frozen=True)
class _Known:
    """The router's ports by scheme, and the domains with a certificate."""

    ports: Mapping[str, int] = field(default_factory=dict)
    certified: Collection[str] = ()


def check_own_address(settings: Settings, *, up: bool) -> Finding:
    """Check that the router serves the host of `KEYSTONE_PUBLIC_URL`, by asking it."""
    host = host_header(settings.public_url)
    if not host:
        told = "none: with KEYSTONE_PUBLIC_URL set, GitHub and browsers reach Keystone by its name"
        return Finding(NAME, Verdict.IDLE, told)
    try:
        with reading(settings) as session:
            doors = find_doors(session)
            known = _Known(doors.ports, doors.certified)
    except (KeystoneError, SQLAlchemyError):
        # Another finding reports an unusable database.
        known = _Known()
    url = f"{settings.public_url}{_resolution(host)}"
    if not up:
        return Finding(NAME, Verdict.IDLE, f"{url}, not served while Keystone is down")
    return _with_warning(_served(settings, known, host, url), webhook_problem(settings))


def _with_warning(finding: Finding, problem: str) -> Finding:
    """Warn that GitHub cannot reach the address, if nothing worse was found."""
    if not problem or finding.verdict not in {Verdict.OK, Verdict.IDLE}:
        return finding
    cause, _, fix = problem.rpartition("; ")
    return Finding(NAME, Verdict.WARNING, cause, fix)


def _served(settings: Settings, known: _Known, host: str, url: str) -> Finding:
    scheme = settings.public_url.partition(":")[0]
    if scheme not in known.ports:
        told = f"{url}: the router does not serve {scheme}, so a proxy of yours must"
        return Finding(NAME, Verdict.IDLE, told)
    if scheme == "https" and not is_covered(host, known.certified):
        if "." not in host or is_ip(host.strip("[]")):
            told = f"{url}: only a name can have a certificate here, so a proxy of yours must"
            return Finding(NAME, Verdict.IDLE, told)
        told = f"{url} has no certificate here, so the router does not serve it by https"
        fix = (
            f"`keystone certificate set {host}`, unless a proxy of yours has one: "
            "then set KEYSTONE_HTTPS_PORT=0"
        )
        return Finding(NAME, Verdict.WARNING, told, fix)
    if problem := _ask(settings, host, scheme, known.ports[scheme]):
        return Finding(NAME, Verdict.FAILED, f"{url}: {problem}", UNSERVED)
    return Finding(NAME, Verdict.OK, f"{url}, by the router on port {known.ports[scheme]}")


def _ask(settings: Settings, name: str, scheme: str, port: int) -> str:
    """Send a request to the router; return what is wrong with the answer, or ""."""
    host = reachable(settings.domain_bind)
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        with closing(connection):
            connection.connect()
            if scheme == "https":
                connection.sock = _secured(connection.sock, name)
            connection.request("GET", "/healthz", headers={"Host": name})
            status = connection.getresponse().status
    except TimeoutError:
        return "the router does not answer in time"
    except (OSError, http.client.HTTPException) as exc:
        return f"the router does not answer ({type(exc).__name__})"
    return "" if status == http.HTTPStatus.OK else f"the router answers {status}"


def _secured(plain: socket.socket, name: str) -> ssl.SSLSocket:
    # Who issued the certificate is not checked: it may be the operator's own authority.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=name)


def _resolution(host: str) -> str:
    """Return the addresses that DNS has for the name, in brackets; "" for an address."""
    if is_ip(host.strip("[]")):
        return ""
    found: list[str] = []

    def resolve() -> None:
        with suppress(OSError):
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.extend(sorted({str(address[0]) for *_, address in rows}))

    # The resolver itself has no timeout that a caller could set.
    resolver = threading.Thread(target=resolve, daemon=True)
    resolver.start()
    resolver.join(PATIENCE_S)
    return f" ({', '.join(found)})" if found else " (a name that this machine cannot resolve)"
