"""HAProxy's runtime API over Unix sockets: one connection, one line of commands, one answer.

A worker has a socket of its own, which serves the newest worker after a reload. The older workers,
which still finish their requests, are reached through the master's socket.
"""

import re
import socket
import time
from pathlib import Path

from jobs.errors import RouterError
from jobs.system.haproxy_process import old_workers

MASTER_SOCKET = "master.sock"  # in the settings' socket_dir
# The state of a thousand ports takes 140 kB.
LONGEST_ANSWER = 16 * 1024 * 1024

# The last command of each line: if its answer is missing, the router ended during the answer.
LAST_WORDS = "show cli level"
_END = re.compile(r"\n\n\Z")
_LAST_ANSWER = re.compile(r"(?:\A|\n)(?:admin|operator|user)\n\n\Z")


class SilentRouterError(RouterError):
    """The router does not answer now; it may be being restarted."""


class RuntimeApi:
    """The runtime API of one worker.

    Args:
        socket_path: the worker's own socket, or the master's.
        timeout_s: the timeout of one answer.
        worker: the process id of a worker behind the master's socket.
    """

    def __init__(
        self,
        socket_path: Path,
        *,
        timeout_s: float,
        worker: int | None = None,
    ) -> None:
        self._path = socket_path
        self._timeout_s = timeout_s
        self._worker = worker

    def ask(self, *commands: str, payload: str = "") -> str:
        """Execute the commands in order, and give the whole answer.

        Args:
            payload: text for the last command; for HAProxy, an empty line ends it.

        Raises:
            SilentRouterError: the router does not answer.
        """
        if text := "\n".join(part for part in payload.splitlines() if part):
            line = f"{self._joined(*commands)} <<\n{text}\n"
        else:
            line = self._joined(*commands, LAST_WORDS)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                answer = self._exchange(connection, f"{line}\n").decode(errors="replace")
            return _whole(answer, has_last_words=not text)
        except OSError as exc:
            raise SilentRouterError(
                "the router does not answer; `keystone up` starts it "
                f"({self._path}: {exc.strerror or exc})"
            ) from exc

    def _joined(self, *commands: str) -> str:
        prefix = "" if self._worker is None else f"@!{self._worker} "
        return ";".join(f"{prefix}{command}" for command in commands)

    def _exchange(self, connection: socket.socket, line: str) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        connection.settimeout(self._timeout_s)
        connection.connect(str(self._path))
        connection.sendall(line.encode("ascii"))
        if self._worker is not None:
            # The master keeps a connection open until its client has nothing more to say.
            connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while len(answer) < LONGEST_ANSWER:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(65536)
            if not piece:
                return bytes(answer)
            answer += piece
        raise RouterError("the router's answer is longer than any it should give")


def older_apis(master_socket: Path | None, *, timeout_s: float) -> dict[int, RuntimeApi]:
    """Give the runtime APIs of the workers from before the last reloads, by process id."""
    if master_socket is None:
        return {}
    return {
        pid: RuntimeApi(master_socket, timeout_s=timeout_s, worker=pid)
        for pid in old_workers(master_socket)
    }


def _whole(answer: str, *, has_last_words: bool) -> str:
    """Give an answer without the part that answers `LAST_WORDS`.

    Raises:
        ConnectionError: the router ended in the middle of its answer.
    """
    ending = _LAST_ANSWER if has_last_words else _END
    if not ending.search(answer):
        raise ConnectionError("it ended in the middle of its answer")
    return ending.sub("\n", answer)
