"""Tells systemd how the service is: the sender's side of sd_notify(3), without its library.

systemd names a socket in `NOTIFY_SOCKET`. Only the service's main process may use it
(`NotifyAccess=main`), so the variable is not passed on to parts; outside of systemd there is none.

Source: sd_notify(3), systemd 252 (read 2026-11-30).
"""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

SOCKET = "NOTIFY_SOCKET"
READY, STOPPING = "READY=1", "STOPPING=1"
LONGEST_STATUS = 500


@dataclass
class Notifier:
    """Sends states to systemd.

    Attributes:
        address: the socket's path; a leading `@` means an abstract socket; "" means nobody listens.
    """

    address: str = ""
    _status: str = ""
    _is_ready: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Give the one that the environment asks for."""
        return cls(environ.get(SOCKET, ""))

    def ready(self) -> None:
        """Say that the service is ready, or that a reload is over; once."""
        if not self._is_ready:
            self._is_ready = True
            self._send(READY)

    def stopping(self) -> None:
        """Say that the service has begun to stop."""
        self._send(STOPPING)

    def reloading(self) -> None:
        """Say that the service replaces its program or reads its files again, until `ready`."""
        self._is_ready = False
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def status(self, sentence: str) -> None:
        """Give the line that `systemctl status` shows; send nothing if it has not changed."""
        line = " ".join(sentence.split())[:LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, *lines: str) -> None:
        if not self.address.startswith(("/", "@")):
            return
        # An abstract socket's name begins with a NUL character.
        address = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        # A service must not fail because systemd does not listen, or wait for it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            sender.sendto("\n".join(lines).encode(), address)
