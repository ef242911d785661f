"""The router as a child of `keystone up`: its configuration from the database, its own process.

A route that is live stands in the configuration itself, so a router that crashed serves again as
soon as it is back, whatever else is down.
"""

import errno
import logging
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from sqlmodel import Session, col, select

from jobs.adapters.haproxy_config import command, configuration
from jobs.adapters.ports import Route
from jobs.errors import ConfigurationError
from jobs.folders import ensure_private
from jobs.models import App
from jobs.records.apps import block_ports
from jobs.runtime import Runtime
from jobs.settings import PortRange, Settings

logger = logging.getLogger(__name__)

PROGRAM = "haproxy"
SOCKET = "haproxy.sock"  # in the settings' socket_dir
# Debian keeps it where only root's PATH leads.
ELSEWHERE = "/usr/sbin:/usr/local/sbin:/sbin"


def find_haproxy() -> str | None:
    """Give the path of HAProxy, or None."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=ELSEWHERE)


def router_command(runtime: Runtime[Settings]) -> list[str]:
    """Give the router's command line, with its configuration written as things stand now.

    The ports of the range that other programs listen on are left out and kept from new apps.

    Raises:
        ConfigurationError: HAProxy is not installed, or the address or every port is unusable.
        StorageError: the database or a folder cannot be used.
    """
    program = find_haproxy()
    if program is None:
        raise ConfigurationError("haproxy is not installed: `apt-get install haproxy`")
    settings = runtime.settings
    taken = taken_ports(settings.app_bind, settings.port_range)
    with runtime.database.writing() as session:
        block_ports(session, taken)
        apps = session.exec(select(App)).all()
        routes = live_routes(session)
    _complain(apps, taken)
    text = configuration(
        bind=settings.app_bind,
        ports=_offered(settings.port_range, apps, taken),
        routes=routes,
        socket=ensure_private(settings.socket_dir) / SOCKET,
    )
    return command(program, _write(ensure_private(settings.data_dir / "run"), text))


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
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of yesterday that linger in TIME_WAIT keep no one from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        if exc.errno in {errno.EADDRINUSE, errno.EACCES}:
            return False
        raise ConfigurationError(f"{host!r} is not an address of this machine") from exc
    return True


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


def _write(folder: Path, text: str) -> Path:
    file = folder / "haproxy.cfg"
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)
    return file
