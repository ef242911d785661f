"""The router's configuration, generated from the database.

The files that the router loads at its start contain the live routes, all domains and all
certificates, so a router that crashed serves again as soon as it has restarted, even if everything
else is down.
"""

import errno
import logging
import os
import resource
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlmodel import Session, col, select

from jobs.adapters.haproxy import assets
from jobs.adapters.haproxy.config import Confinement, command, configuration
from jobs.adapters.haproxy.domains import (
    CERTIFICATE_LIST,
    CERTIFICATES,
    CERTIFIED,
    certificate_file,
    domain_files,
)
from jobs.adapters.haproxy.files import CONFIGURATION, RouterFiles
from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.shares import most_places
from jobs.errors import ConfigurationError
from jobs.processes.own_address import own_address
from jobs.processes.runtime import OwnSettings, Runtime
from jobs.reads.apps import compressed_ports
from jobs.reads.domains import domain_targets, find_doors
from jobs.reads.warm import warm_routes
from jobs.records.apps import block_ports
from jobs.records.certificates import open_certificates
from jobs.records.domains import note_domain_ports
from jobs.rules.certificates import default_bundle, is_loadable
from jobs.rules.container_values import Route, Warm
from jobs.rules.port_range import PortRange
from jobs.settings import Settings
from jobs.storage.models import App, BlockedPort, now
from jobs.system.listening import bind_error
from jobs.system.part_users import PartUsers
from jobs.system.private_folder import ensure_private
from jobs.system.router_key import ensure_router_key

logger = logging.getLogger(__name__)

PROGRAM = "haproxy"
SHOWN_KEY = SecretStr("a-secret-key-that-is-not-shown-here")
# Debian installs HAProxy in a folder that is only in root's PATH.
ELSEWHERE = "/usr/sbin:/usr/local/sbin:/sbin"


@dataclass(frozen=True)
class _Ports:
    """The range's ports that other programs use, and the ports that serve domains, by scheme."""

    taken: Sequence[int]
    served: Mapping[str, int]


def find_haproxy() -> str | None:
    """Give the path of HAProxy; None when it is not installed."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=ELSEWHERE)


def router_command(runtime: Runtime[OwnSettings]) -> list[str]:
    """Write the router's current configuration, and give its command line.

    Ports of the range that other programs listen on are left out and not given to new apps.

    Raises:
        ConfigurationError: HAProxy is not installed, or the address or every port is unusable.
        StorageError: the database or a folder cannot be used.
    """
    return command(installed_haproxy(), write_configuration(runtime))


def _confinement(settings: Settings, users: PartUsers | None) -> Confinement | None:
    if users is None:
        return None
    return Confinement(settings.chroot_dir, users.router.name, users.work.name)


def installed_haproxy() -> str:
    """Give the path of HAProxy.

    Raises:
        ConfigurationError: HAProxy is not installed.
    """
    program = find_haproxy()
    if program is None:
        raise ConfigurationError("haproxy is not installed: `apt-get install haproxy`")
    return program


def write_configuration(
    runtime: Runtime[OwnSettings],
    *,
    users: PartUsers | None = None,
    own: Collection[int] = (),
) -> Path:
    """Write the router's current configuration and its files, and give its path.

    Args:
        users: the users for a router started by root; None: the router keeps the user that starts
            it.
        own: the ports that our running router listens on: no other program has them.

    Raises:
        ConfigurationError: the address or every port is unusable.
        StorageError: the database or a folder cannot be used.
    """
    settings = runtime.settings
    ports = _found_ports(settings, own)
    if not settings.router_socket:
        # If the operator has chosen the socket's path, the operator creates its folder.
        ensure_private(settings.socket_dir)
    folder = ensure_private(settings.router_dir)
    # Whoever changes a route within a transaction takes the files' lock second, too.
    with runtime.database.writing() as session:
        block_ports(session, ports.taken)
        note_domain_ports(session, ports.served)
        _complain(session, ports.taken)
        key = ensure_router_key(settings.run_dir)
        text = _configuration(session, settings, ports, users, key=key)
        domains = domain_targets(session)
        certificates = open_certificates(session, runtime.vault)
        warm = warm_routes(session)
        files = RouterFiles(folder)
        with files.locked():
            write_domain_files(folder, domains, certificates, warm.values())
            return files.write(CONFIGURATION, text)


def show_configuration(runtime: Runtime[OwnSettings]) -> str:
    """Give the router's configuration with the ports that were found at the router's last start.

    This tests no ports and writes nothing. Instead of the router's key it has a placeholder.
    """
    with runtime.database.reading() as session:
        ports = _known_ports(session, runtime.settings)
        return _configuration(session, runtime.settings, ports)


def _configuration(
    session: Session,
    settings: Settings,
    ports: _Ports,
    users: PartUsers | None = None,
    *,
    key: SecretStr = SHOWN_KEY,
) -> str:
    apps = session.exec(select(App)).all()
    offered = _offered(settings.port_range, apps, ports.taken)
    return configuration(
        bind=settings.app_bind,
        ports=offered,
        routes=live_routes(session),
        socket=settings.effective_router_socket,
        doors=DomainDoors(settings.domain_bind, **ports.served),
        policy=_policy(settings, len(offered), key),
        confinement=_confinement(settings, users),
        compressed=compressed_ports(session),
    )


def _policy(settings: Settings, ports: int, key: SecretStr) -> Policy:
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Policy(
        places=most_places(
            files=sys.maxsize if most_files == resource.RLIM_INFINITY else most_files,
            ports=ports,
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        ),
        trusted=settings.trusted_proxies,
        address=own_address(settings, key),
    )


def _found_ports(settings: Settings, own: Collection[int]) -> _Ports:
    """Test which ports our router can listen on, besides those that it has."""
    if settings.router_socket:
        return _ports_of_another_router(settings)
    taken = taken_ports(settings.app_bind, settings.port_range, own=own)
    return _Ports(taken, served_ports(settings, own=own))


def _known_ports(session: Session, settings: Settings) -> _Ports:
    """Give the ports that were found when the router was last started."""
    if settings.router_socket:
        return _ports_of_another_router(settings)
    taken = session.exec(select(BlockedPort.port)).all()
    return _Ports(taken, find_doors(session).ports)


def _ports_of_another_router(settings: Settings) -> _Ports:
    # Do not test the ports: that router may already be listening on them.
    return _Ports((), wanted_ports(settings))


def write_domain_files(
    folder: Path,
    domains: Mapping[str, int],
    certificates: Mapping[str, SecretStr],
    warm: Iterable[Warm] = (),
) -> None:
    """Write the files of the router's maps and certificates, and remove old certificates.

    A certificate that OpenSSL would refuse is left out: HAProxy would not start with it. At every
    moment the files form a whole: the certificates come before the list that names them.

    Raises:
        RouterError: a file cannot be written.
        StorageError: a folder is not private.
    """
    files = RouterFiles(folder)
    ensure_private(folder / CERTIFICATES)
    usable = {}
    for domain, pem in certificates.items():
        name = certificate_file(domain, pem)
        if is_loadable(files.write(name, pem.get_secret_value())):
            usable[domain] = pem
        else:
            logger.error(
                "the certificate of %s cannot be used; give it anew: `keystone certificate set`",
                domain,
                extra={"action": "certificate_unusable"},
            )
    wanted = domain_files(domains, usable, default_bundle(now()))
    for name, text in assets.map_files(warm).items():
        files.write(name, text)
    # The lists last: first all of what they name, and HTTPS before any redirect to it.
    last = [CERTIFICATE_LIST, CERTIFIED]
    for name in [*(wanted.keys() - set(last)), *last]:
        files.write(name, wanted[name].get_secret_value())
    files.remove_certificates(but_for=wanted)


def wanted_ports(settings: Settings) -> dict[str, int]:
    """Give the configured ports for serving domains, by scheme."""
    ports = {"http": settings.http_port, "https": settings.https_port}
    return {scheme: port for scheme, port in ports.items() if port}


def served_ports(settings: Settings, *, own: Collection[int] = ()) -> dict[str, int]:
    """Give the wanted ports that can be listened on now, and log the others.

    Args:
        settings: the settings.
        own: the ports that our router has already.

    Raises:
        ConfigurationError: the address is not one of this machine.
    """
    served = {}
    for scheme, port in wanted_ports(settings).items():
        if port not in own and (reason := obstacle(settings.domain_bind, port)):
            logger.warning(
                "domains are not served by %s: %s",
                scheme,
                reason,
                extra={"action": "port_left_out"},
            )
        else:
            served[scheme] = port
    return served


def taken_ports(bind: str, ports: PortRange, *, own: Collection[int] = ()) -> list[int]:
    """Give the ports of the range that other programs listen on.

    Args:
        bind: the address to listen on.
        ports: the range.
        own: the ports that our router has already.

    Raises:
        ConfigurationError: the address is not one of this machine.
    """
    wanted = range(ports.first, ports.last + 1)
    return [port for port in wanted if port not in own and not is_free(bind, port)]


def is_free(host: str, port: int) -> bool:
    """Whether a program could listen on the port now.

    Raises:
        ConfigurationError: the host is not an address of this machine.
    """
    return not obstacle(host, port)


def obstacle(host: str, port: int) -> str:
    """Give the reason why a program cannot listen on the port now; empty when it can.

    Raises:
        ConfigurationError: the host is not an address of this machine.
    """
    error = bind_error(host, port)
    if error is None:
        return ""
    if error.errno == errno.EADDRINUSE:
        return f"another program listens on port {port}"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}"
    raise ConfigurationError(f"{host!r} is not an address of this machine") from error


def live_routes(session: Session) -> list[Route]:
    """Give the route of each app that has a live release."""
    apps = session.exec(select(App).where(col(App.live_address).is_not(None))).all()
    return [
        Route(port=app.host_port, slot=app.live_slot, address=app.live_address)
        for app in apps
        if app.live_slot and app.live_address
    ]


def _offered(ports: PortRange, apps: Sequence[App], taken: Sequence[int]) -> set[int]:
    """Give the ports to listen on: the range, and apps' ports from an earlier range."""
    wanted = set(range(ports.first, ports.last + 1)) | {app.host_port for app in apps}
    return wanted - set(taken)


def _complain(session: Session, taken: Sequence[int]) -> None:
    if taken:
        logger.info(
            "other programs listen on %d ports of the range; no app is given those",
            len(taken),
            extra={"action": "ports_blocked"},
        )
    for app in session.exec(select(App)).all():
        if app.host_port in taken:
            logger.error(
                "port %d of %s is taken by another program: the app cannot be reached until that "
                "program ends and Keystone is started again",
                app.host_port,
                app.name,
                extra={"action": "port_taken", "app": app.name},
            )
