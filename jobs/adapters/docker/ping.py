"""Asks this machine's engine for its API version, and nothing else.

For code that must not wait for the docker SDK, which is slow to import.
"""

import http.client
import socket
from collections.abc import Mapping

PATIENCE_S = 2.0
DEFAULT_HOST = "unix:///var/run/docker.sock"
UNIX = "unix://"
# Docker Engine 23. Its builder accepts a control group for a build; older builders ignore it.
OLDEST_WITH_BUILD_GROUPS = (1, 42)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self._path)


def is_local(environ: Mapping[str, str]) -> bool:
    """Whether the engine that DOCKER_HOST names runs on this machine."""
    return (environ.get("DOCKER_HOST") or DEFAULT_HOST).startswith(UNIX)


def api_version(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Give the API version; None when no engine on this machine answers.

    Source: https://docs.docker.com/reference/api/engine/version/v1.41/ "Ping".
    """
    host = environ.get("DOCKER_HOST") or DEFAULT_HOST
    if not host.startswith(UNIX):
        return None
    connection = _UnixConnection(host.removeprefix(UNIX))
    try:
        connection.request("GET", "/_ping")
        told = connection.getresponse().getheader("Api-Version") or ""
        major, _, minor = told.partition(".")
        return int(major), int(minor)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
