"""Tells systemd whether Keystone is ready: when the web process can accept pushes.

The supervisor asks the web process itself, so `systemctl start keystone` returns when a push that
arrives is accepted, even if Docker or the router is still down.
"""

import http.client
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus

from jobs.rules.ip_addresses import reachable
from jobs.system.notify import Notifier

ANSWER_WITHIN_S = 1.0
LONGEST_ANSWER = 1000  # bytes
STARTING = "starting"


class Readiness:
    """The state of one Keystone as systemd shows it.

    Args:
        notifier: where to send it.
        host: the address that the web process listens on.
        port: its port; 0 when no web process is run.
    """

    def __init__(self, notifier: Notifier, host: str, port: int) -> None:
        self._notifier = notifier
        self._host, self._port = reachable(host), port
        self._is_ready = False
        self._is_stopping = False

    def look(self, parts: Mapping[str, bool]) -> None:
        """Send what has changed.

        Args:
            parts: by name, whether each process of that part runs.
        """
        if not self._notifier.address or self._is_stopping:
            return
        if not self._is_ready and (not self._port or can_accept(self._host, self._port)):
            self._is_ready = True
            self._notifier.ready()
        self._notifier.status(describe(parts, is_ready=self._is_ready))

    def hand_over(self) -> None:
        """Say that another version takes over in this process; it says when it is ready."""
        self._notifier.reloading()
        self._notifier.status("handing over to another version")

    def stop(self) -> None:
        """Say that the parts are being stopped."""
        self._is_stopping = True
        self._notifier.stopping()
        self._notifier.status("stopping: what is being deployed is finished or handed back")


def describe(parts: Mapping[str, bool], *, is_ready: bool) -> str:
    """Describe the parts in one sentence."""
    missing = [name for name, runs in parts.items() if not runs]
    if missing:
        return f"{'running' if is_ready else STARTING}; not there yet: {', '.join(missing)}"
    return f"running: {', '.join(parts)}" if is_ready else f"{STARTING}: {', '.join(parts)}"


def can_accept(host: str, port: int) -> bool:
    """Whether a web process listens there and can accept pushes."""
    return ask_readyz(host, port, ANSWER_WITHIN_S)[0] == HTTPStatus.OK


def ask_readyz(host: str, port: int, within_s: float) -> tuple[int, str]:
    """Ask a web process directly; give the status and the body, or 0 and what went wrong."""
    with closing(http.client.HTTPConnection(host, port, timeout=within_s)) as connection:
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, response.read(LONGEST_ANSWER).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as exc:
            return 0, f"no answer ({exc})"
