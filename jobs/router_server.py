"""The router as a child of `keystone up`: its configuration from the database, its own process.

What is live, every domain and every certificate stand in the files it starts with, so a router that
crashed serves again as soon as it is back, whatever else is down.
"""

import errno
import logging
import os
import resource
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr
from sqlmodel import Session, col, select

from jobs.adapters.haproxy_config import command, configuration
from jobs.adapters.haproxy_domains import CERTIFICATES, certificate_file, domain_files
from jobs.adapters.haproxy_frontends import DomainDoors, Policy
from jobs.adapters.haproxy_shares import most_places
from jobs.adapters.ports import Route
from jobs.addresses import domain_targets
from jobs.certificates import default_bundle, is_loadable
from jobs.domain_names import is_plain
from jobs.errors import ConfigurationError
from jobs.folders import ensure_private
from jobs.models import App, now
from jobs.records.apps import block_ports
from jobs.records.certificates import open_certificates
from jobs.records.domains import note_domain_ports
from jobs.runtime import OwnSettings, Runtime
from jobs.settings import PortRange, Settings

logger = logging.getLogger(__name__)

PROGRAM = "haproxy"
CONFIGURATION = "haproxy.cfg"  # in the settings' router_dir
# Debian keeps it where only root's PATH leads.
ELSEWHERE = "/usr/sbin:/usr/local/sbin:/sbin"


def find_haproxy() -> str | None:
    """Give the path of HAProxy, or None."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=ELSEWHERE)


def router_command(runtime: Runtime[OwnSettings]) -> list[str]:
    """Give the router's command line, with its configuration written as things stand now.

    The ports of the range that other programs listen on are left out and kept from new apps.

    Raises:
        ConfigurationError: HAProxy is not installed, or the address or every port is unusable.
        StorageError: the database or a folder cannot be used.
    """
    program = find_haproxy()
    if program is None:
        raise ConfigurationError("haproxy is not installed: `apt-get install haproxy`")
    return command(program, write_configuration(runtime))


def write_configuration(runtime: Runtime[OwnSettings]) -> Path:
    """Write the router's configuration as things stand now, and give its path.

    Raises:
        ConfigurationError: the address or every port is unusable.
        StorageError: the database or a folder cannot be used.
    """
    settings = runtime.settings
    taken, served = _found_ports(settings)
    with runtime.database.writing() as session:
        block_ports(session, taken)
        note_domain_ports(session, served)
        apps = session.exec(select(App)).all()
        routes = live_routes(session)
        domains = domain_targets(session)
        certificates = open_certificates(session, runtime.vault)
    _complain(apps, taken)
    ports = _offered(settings.port_range, apps, taken)
    text = configuration(
        bind=settings.app_bind,
        ports=ports,
        routes=routes,
        socket=_socket(settings),
        doors=DomainDoors(settings.domain_bind, **served),
        policy=_policy(settings, len(ports)),
    )
    folder = ensure_private(settings.router_dir)
    write_domain_files(folder, domains, certificates)
    return _write(folder / CONFIGURATION, text)


def _policy(settings: Settings, ports: int) -> Policy:
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Policy(
        places=most_places(
            files=sys.maxsize if most_files == resource.RLIM_INFINITY else most_files,
            ports=ports,
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        ),
        trusted=settings.trusted_proxies,
        dashboard=settings.dashboard_name if is_plain(settings.dashboard_name) else "",
    )


def _found_ports(settings: Settings) -> tuple[list[int], dict[str, int]]:
    """Give the ports that are taken and those that domains are served on."""
    if settings.router_socket:
        # Somebody else's router may be listening on them already.
        return [], wanted_ports(settings)
    return taken_ports(settings.app_bind, settings.port_range), served_ports(settings)


def _socket(settings: Settings) -> Path:
    # The folder of a socket that somebody chose is theirs to make.
    if not settings.router_socket:
        ensure_private(settings.socket_dir)
    return settings.effective_router_socket


def write_domain_files(
    folder: Path, domains: Mapping[str, int], certificates: Mapping[str, SecretStr]
) -> None:
    """Write what the router must know of domains when it starts, and nothing from before.

    A certificate that OpenSSL would refuse is left out: HAProxy would not start with it at all.

    Raises:
        StorageError: a folder is not ours alone.
    """
    shutil.rmtree(folder / CERTIFICATES, ignore_errors=True)
    ensure_private(folder / CERTIFICATES)
    usable = {}
    for domain, pem in certificates.items():
        if is_loadable(_write(folder / certificate_file(domain, pem), pem.get_secret_value())):
            usable[domain] = pem
        else:
            logger.error(
                "the certificate of %s cannot be used; give it anew: `keystone certificate set`",
                domain,
                extra={"action": "certificate_unusable"},
            )
    for name, content in domain_files(domains, usable, default_bundle(now())).items():
        _write(folder / name, content.get_secret_value())


def wanted_ports(settings: Settings) -> dict[str, int]:
    """Give the ports on which domains shall be served, by scheme."""
    ports = {"http": settings.http_port, "https": settings.https_port}
    return {scheme: port for scheme, port in ports.items() if port}


def served_ports(settings: Settings) -> dict[str, int]:
    """Give those of them that can be listened on now, and name the others in the log.

    Raises:
        ConfigurationError: the address is not one of this machine.
    """
    served = {}
    for scheme, port in wanted_ports(settings).items():
        if reason := obstacle(settings.domain_bind, port):
            logger.warning(
                "domains are not served by %s: %s",
                scheme,
                reason,
                extra={"action": "port_left_out"},
            )
        else:
            served[scheme] = port
    return served


def taken_ports(bind: str, ports: PortRange) -> list[int]:
    """Give the ports of the range that some other program listens on. The router must be down.

    Raises:
        ConfigurationError: the address is not one of this machine.
    """
    return [port for port in range(ports.first, ports.last + 1) if not is_free(bind, port)]


def is_free(host: str, port: int) -> bool:
    """Whether a program could listen there now.

    Raises:
        ConfigurationError: the host is not an address of this machine.
    """
    return not obstacle(host, port)


def obstacle(host: str, port: int) -> str:
    """Say what keeps a program from listening there now; empty when nothing does.

    Raises:
        ConfigurationError: the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of yesterday that linger in TIME_WAIT keep no one from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return f"another program listens on port {port}"
        if exc.errno == errno.EACCES:
            return f"this user may not listen on port {port}"
        raise ConfigurationError(f"{host!r} is not an address of this machine") from exc
    return ""


def live_routes(session: Session) -> list[Route]:
    """Give where each app's traffic belongs, of those that have a live release."""
    apps = session.exec(select(App).where(col(App.live_address).is_not(None))).all()
    return [
        Route(port=app.host_port, slot=app.live_slot, address=app.live_address)
        for app in apps
        if app.live_slot and app.live_address
    ]


def _offered(ports: PortRange, apps: Sequence[App], taken: Sequence[int]) -> set[int]:
    """Give the ports to listen on: the range, and those apps kept from an earlier range."""
    wanted = set(range(ports.first, ports.last + 1)) | {app.host_port for app in apps}
    return wanted - set(taken)


def _complain(apps: Sequence[App], taken: Sequence[int]) -> None:
    if taken:
        logger.info(
            "other programs listen on %d ports of the range; no app is given those",
            len(taken),
            extra={"action": "ports_blocked"},
        )
    for app in apps:
        if app.host_port in taken:
            logger.error(
                "port %d of %s is taken by another program: the app cannot be reached until that "
                "program ends and Keystone is started again",
                app.host_port,
                app.name,
                extra={"action": "port_taken", "app": app.name},
            )


def _write(file: Path, text: str) -> Path:
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)
    return file
